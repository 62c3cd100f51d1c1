"""What a text of others looks like after it was made fit to be shown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from jobs.diagnose.evidence import Evidence
from jobs.diagnose.why import explain
from jobs.kubernetes.quantities import parse_quantity
from jobs.spec.job_info import JobInfo
from jobs.spec.shown import TEXT_LIMIT, cell, shown, visible, visible_json


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("\x1b]8;;http://evil\x07x\x1b]8;;\x07", r"\x1b]8;;http://evil\x07x\x1b]8;;\x07", id="OSC 8"),
        pytest.param("\x1b]52;c;cm0gLXJm\x07", r"\x1b]52;c;cm0gLXJm\x07", id="OSC 52"),
        pytest.param("\x1b[2J\x9b1A", r"\x1b[2J\x9b1A", id="CSI in 7 and 8 bits"),
        pytest.param("a\x7f\x00\x08b", r"a\x7f\x00\x08b", id="DEL, NUL, backspace"),
        pytest.param("a\r\nb\rc", r"a\r\nb\rc", id="ends of lines"),
        pytest.param("a\u202eb\u2066c\u2028d", r"a\u202eb\u2066c\u2028d", id="direction and line separator"),
        pytest.param("\ud800", r"\ud800", id="half of a pair"),
        pytest.param("::error ::x", ": :error ::x", id="command of GitHub"),
        pytest.param("x ##[error]y ##vso[z]", "x # #[error]y # #vso[z]", id="command anywhere"),
        pytest.param("# ## a::b Ünïcödé 日本 👩‍🔬", "# ## a::b Ünïcödé 日本 👩‍🔬", id="ordinary text"),
    ],
)
def test_control_characters_become_visible(text: str, expected: str) -> None:
    assert visible(text) == expected
    assert json.loads(visible_json({text: text})) == {text: text}
    assert not any(code in visible_json(text) for code in "\x1b\x9b\x7f\u202e\ud800")


def test_lines_are_kept_where_they_are_expected_and_no_line_is_a_command() -> None:
    assert visible("a\r\n\tb\n  ::error ::x\rc", lines=True) == "a\n\tb\n  : :error ::x\\rc"


def test_a_long_text_is_cut_and_the_cut_shows_no_part_of_a_secret() -> None:
    token = "hf_" + "a" * 34
    text = f"{'x' * 50} {token} {'y' * 5000}"
    assert token[:20] not in cell(text)
    assert token[:20] not in shown(text, 70)
    assert shown("a" * 50, 10) == "aaaaaaaaaa ... (40 more characters)"
    assert len(shown("a" * 10 * TEXT_LIMIT)) < TEXT_LIMIT + 100


# Half a job each, so that a pattern without an end is tried at each place.
TEXTS: dict[str, str] = {
    "options": "--token ",
    "quotes": "a='b ",
    "URLs": "http://a:b",
    "words": "A_",
    "errors": "aError.",
    "spaces": " ",
    "hashes": "##",
    "quota": "exceeded quota: a, requested: b, used: c",
}


def _why(text: str) -> None:
    job = JobInfo("j", "FAILED", message=text, error_type="RUNTIME_ENV_SETUP_FAILURE").shown(4096)
    event = {
        "type": "Warning",
        "reason": "FailedCreate",
        "message": text,
        "involvedObject": {"kind": "RayCluster", "name": "c"},
        "metadata": {"name": "e"},
    }
    list(explain(Evidence("j", job=job, ray_reached=True, cluster="c", namespace="n", events=[event])))


def _quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity("1" * len(text) + "x")


WORK: dict[str, Callable[[str], object]] = {
    "a row of a table": cell,
    "a sentence": lambda text: shown(text, 4096),
    "visible": visible,
    "JSON": lambda text: JobInfo("j", "FAILED", text, metadata={"a": text}, runtime_env={"b": [text]}).as_json(),
    "why": _why,
    "a quantity": _quantity,
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("unit", TEXTS)
def test_twice_the_text_takes_at_most_about_twice_the_time(work: str, unit: str) -> None:
    def seconds(length: int) -> float:
        text = (TEXTS[unit] * (length // len(TEXTS[unit]) + 1))[:length]
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            WORK[work](text)
            best = min(best, time.process_time() - began)
        return best

    length = 24_000
    assert seconds(2 * length) < 3 * max(seconds(length), 0.02)
    assert work == "JSON" or seconds(4 * length) < 1.0  # Everybody's `list` has a row for each job.
