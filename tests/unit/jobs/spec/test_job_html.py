"""A job as HTML, for a notebook."""

from __future__ import annotations

from jobs.spec.job_html import job_html, job_line
from jobs.spec.job_info import LOST, JobInfo

FAILED = JobInfo("train-1", "FAILED", "python train.py", start_time=1_000, end_time=13_000, driver_exit_code=1)


def test_a_failed_job_has_its_duration_its_exit_code_its_reason_and_the_next_command() -> None:
    table = job_html(FAILED, "Its program failed: ValueError: bad lr")
    for text in ("train-1", "FAILED", "exit code 1", ">12s<", "python train.py", "ValueError: bad lr", "why train-1"):
        assert text in table
    assert job_line(FAILED, "bad lr") == "Job train-1: FAILED, 12s. bad lr"


def test_a_row_without_a_content_is_left_out() -> None:
    table = job_html(JobInfo("train-1", "SUCCEEDED"))
    assert table.count("<tr>") == 2
    assert "rerun train-1" in job_html(JobInfo("train-1", LOST))
    assert job_line(JobInfo("train-1", "PENDING")) == "Job train-1: PENDING."


def test_no_text_of_others_becomes_html_and_no_secret_is_shown() -> None:
    script = "<script>alert(1)</script>"
    job = FAILED._replace(submission_id=script, status=script, entrypoint=f"{script} --password=hunter2-x7Kq9")
    texts = (job_html(job, f"{script} --password=hunter2-x7Kq9"), job._repr_html_())
    for text in texts:
        assert "<script>" not in text
        assert "&lt;script&gt;" in text
        assert "hunter2" not in text
    assert "\x1b" not in job_html(FAILED._replace(entrypoint="\x1b[2J"), "\x1b[2J")
