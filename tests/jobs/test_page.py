"""The page of a real Ray without a keeper, and what a keeper of it answers later."""

from __future__ import annotations

import signal

import httpx

from tests.jobs.conftest import new_id
from tests.support.command import Cli, wait_until

PROGRAM = "import time; print('begin', flush=True); time.sleep(8); print('end')"


def test_the_page_of_a_real_ray_shows_its_jobs_and_a_log_that_grows(cli: Cli) -> None:
    submission_id = new_id()
    assert cli("submit", "--no-wait", "--submission-id", submission_id, "--", "python", "-c", PROGRAM).returncode == 0
    page = cli.start("page", "--no-open", submission_id)
    assert page.stdout is not None
    link = page.stdout.readline().decode().strip()
    base = link.partition("/open")[0]
    with httpx.Client(follow_redirects=True, trust_env=False, timeout=60) as browser:
        assert submission_id in browser.get(link).text
        log = f"{base}/v1/jobs/{submission_id}/log"
        wait_until(lambda: b"begin" in browser.get(log).content, 60)
        wait_until(lambda: browser.get(log).content.endswith(b"begin\nend\n"), 60)
        wait_until(lambda: browser.get(f"{base}/v1/jobs/{submission_id}").json()["status"] == "SUCCEEDED", 60)
        assert browser.get(f"{base}/cluster").status_code == 200
    page.send_signal(signal.SIGINT)
    page.communicate(timeout=60)
    assert page.returncode == 0
