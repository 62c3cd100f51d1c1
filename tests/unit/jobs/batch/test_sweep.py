"""What a sweep expands to."""

from __future__ import annotations

import subprocess

import pytest

from jobs.batch import jobs_file as batch
from jobs.batch import sweep
from jobs.errors import Refused


def test_a_sweep_is_every_combination_with_ranges_written_out() -> None:
    given = sweep.parse(["lr=1e-3,1e-4", "seed=0..2"])
    assert given == {"lr": ["1e-3", "1e-4"], "seed": ["0", "1", "2"]}
    found = batch.from_sweep(["python", "t.py", "--lr", "{lr}", "--seed={seed}"], {}, given)
    assert len(found.jobs) == 6
    assert found.jobs[0].request.spec.entrypoint == "python t.py --lr 1e-3 --seed=0"
    assert found.jobs[-1].request.spec.metadata == {"lr": "1e-4", "seed": "2"}


def test_values_with_quotes_and_spaces_arrive_as_one_word() -> None:
    found = batch.from_sweep(["echo", "{name}"], {}, {"name": ["it's two words", "$HOME"]})
    shown = [
        subprocess.run(job.request.spec.entrypoint, shell=True, capture_output=True, text=True) for job in found.jobs
    ]
    assert [each.stdout for each in shown] == ["it's two words\n", "$HOME\n"]


def test_only_the_sweeps_own_braces_are_replaced() -> None:
    line = "python t.py --config '{\"lr\": {lr}}' ${HOME} {a,b} {other}"
    found = batch.from_sweep([line], {}, {"lr": ["{other}"]})
    assert found.jobs[0].request.spec.entrypoint == line.replace("{lr}", "{other}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["lr"], "no '='"),
        (["lr=1", "lr=2"], "twice"),
        (["1r=1"], "cannot be named"),
        (["lr=1,,2"], "empty value"),
        (["lr="], "empty value"),
        (["seed=9..0"], "range"),
        (["seed=0..99999999"], "range"),
        (["lr=1,1"], "value twice"),
    ],
)
def test_a_malformed_sweep_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        sweep.parse(given)


def test_a_sweep_that_is_used_nowhere_is_refused() -> None:
    with pytest.raises(Refused, match="'seed' is used nowhere"):
        batch.from_sweep(["python", "t.py"], {}, {"seed": ["0", "1"]})


def test_a_sweep_of_too_many_combinations_is_refused() -> None:
    with pytest.raises(Refused, match="1000000 combinations"):
        sweep.combinations({name: list(map(str, range(100))) for name in "abc"})
