"""Secrets are withheld, ordinary words are kept."""

from __future__ import annotations

import pytest

from jobs.spec import redact


@pytest.mark.parametrize(
    "harmless", ["MAX_TOKENS", "TOKENIZERS_PARALLELISM", "KEYBOARD", "AUTHOR", "CUDA_VISIBLE_DEVICES"]
)
def test_names_that_only_resemble_secrets_are_kept(harmless: str) -> None:
    kept, withheld = redact.spec({"runtime_env": {"env_vars": {harmless: "4"}}})
    assert (kept, withheld) == ({"runtime_env": {"env_vars": {harmless: "4"}}}, [])


@pytest.mark.parametrize(
    "entrypoint",
    [
        "python -c 'print(1)'",
        "python t.py --max-tokens 512 --key-column id",
        "python sort.py --key name --pass 2 --auth none",
        "python t.py --pad-token '<pad>' --eos-token=</s>",
        "make pass",
    ],
)
def test_an_ordinary_entrypoint_is_kept_as_typed(entrypoint: str) -> None:
    assert redact.text(entrypoint) == entrypoint


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_secret_inside_a_quoted_command_is_withheld(quote: str) -> None:
    shown = redact.text(f"bash -c {quote}API_KEY=hunter2hunter2 python t.py --password x y{quote}")
    assert shown == f"bash -c {quote}API_KEY=(withheld) python t.py --password (withheld) y{quote}"
