"""A batch's exit code, and a directory that cannot be planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.batch import jobs_file as batch
from jobs.errors import Refused, worst_exit_code
from jobs.spec.job_spec import JobFields


@pytest.mark.parametrize(
    ("codes", "code"),
    [([0, 0], 0), ([0, 3], 3), ([3, 2], 2), ([2, 5], 5), ([5, 1], 1), ([1, 4], 4), ([4, 6, 0], 6)],
)
def test_the_exit_code_of_a_batch_is_the_worst_one(codes: list[int], code: int) -> None:
    assert worst_exit_code(codes) == code


def test_excludes_that_are_no_list_are_refused(tmp_path: Path) -> None:
    fields: JobFields = {"working_dir": tmp_path, "runtime_env": {"excludes": "data/"}}
    with pytest.raises(Refused, match=r"runtime_env\.excludes is a text; allowed: a list"):
        batch.from_sweep(["x {i}"], fields, {"i": ["1"]})
