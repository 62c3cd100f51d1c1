"""The page in a real browser: every view, without a fault; what changes by itself; by keyboard; without JavaScript."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from jobs.ledger.kept import KeptJobs
from tests.jobs.conftest import Head, new_id
from tests.jobs.test_keep import submit_with_stock_client
from tests.support.browser import chromium, visiting
from tests.support.command import Cli, wait_until
from tests.support.keeper_page import LiveCluster, Page, failed, fill, job, serving
from tests.support.keeper_process import keep

VIEWS = {
    "jobs": "/",
    "a filter": "/?status=FAILED&search=train",
    "a filter that nothing matches": "/?search=nothing-has-this",
    "a job that failed": "/jobs/raysubmit_failed",
    "a job that waits": "/jobs/raysubmit_waits",
    "a job that runs": "/jobs/raysubmit_runs",
    "a large log": "/jobs/raysubmit_0000",
    "a hostile job": "/jobs/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "the cluster": "/cluster",
    "an absent job": "/jobs/absent",
}
WINDOWS = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    """A keeper's folder with jobs of every kind, and the URL of its page."""
    page = Page(tmp_path_factory.mktemp("full") / "kept", cluster=LiveCluster())
    fill(page)
    with serving(page.app) as url:
        yield page, url
    page.keeping.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    made = Page(tmp_path / "kept")
    yield made
    made.keeping.close()


def link(page: Page, url: str) -> str:
    return f"{url}{page.access.new_path()}"


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_accessible_and_asks_no_other_host(
    full: tuple[Page, str], browser: Browser, scheme: str, window: str
) -> None:
    page, url = full
    with visiting(browser, link(page, url), color_scheme=scheme, viewport=WINDOWS[window]) as visitor:
        for view, path in VIEWS.items():
            visitor.page.goto(f"{url}{path}")
            violations = Axe().run(visitor.page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == [], view
            # A phone scrolls in one direction.
            assert visitor.page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            ), view


def test_a_job_that_runs_changes_by_itself_and_so_does_its_log(page: Page, browser: Browser) -> None:
    page.keep(job("a", "RUNNING", start=time.time()))
    page.keeping.append_log("a", b"epoch 1\n")
    page.keeping.flush()
    with serving(page.app) as url, visiting(browser, link(page, url)) as visitor:
        visitor.page.goto(f"{url}/jobs/a")
        expect(visitor.page.locator("#log-box")).to_contain_text("epoch 1")
        page.keeping.append_log("a", b"\x1b[31mepoch 2\x1b[0m\n")

        def is_shown() -> bool:
            page.keeping.flush()  # As a keeper does each second: that a log grew is said every two.
            return "epoch 2" in (visitor.page.locator("#log-box").text_content() or "")

        wait_until(is_shown, 15)
        page.keep(failed("a", start=time.time()))
        expect(visitor.page.locator("h1")).to_contain_text("Failed", timeout=15_000)
        visitor.page.goto(url)
        page.keep(failed("a"), job("b", "RUNNING", start=time.time()))
        expect(visitor.page.get_by_role("link", name="b", exact=True)).to_be_visible(timeout=15_000)


def test_a_page_whose_connection_breaks_says_so_and_goes_on(page: Page, browser: Browser) -> None:
    page.keep(job("a", "RUNNING", start=time.time()))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        url = first.enter_context(serving(page.app))
        context = browser.new_context()
        stack.callback(context.close)
        window = context.new_page()
        window.goto(link(page, url))
        expect(window.locator("#connection")).to_have_text("Updates by itself", timeout=15_000)
        first.close()
        expect(window.locator("#connection")).not_to_have_text("Updates by itself", timeout=15_000)
        page.keep(job("a", "SUCCEEDED"))
        stack.enter_context(serving(page.app, int(url.rpartition(":")[2])))
        expect(window.locator("#connection")).to_have_text("Updates by itself", timeout=30_000)
        expect(window.get_by_role("cell", name="Succeeded")).to_be_visible(timeout=15_000)


def test_a_keyboard_is_enough_to_find_out_why_a_job_failed(full: tuple[Page, str], browser: Browser) -> None:
    page, url = full
    with visiting(browser, link(page, url)) as visitor:
        keyboard = visitor.page.keyboard
        for _ in range(12):
            keyboard.press("Tab")
            if visitor.page.evaluate("document.activeElement.name") == "search":
                break
        keyboard.type("vision")
        keyboard.press("Enter")
        expect(visitor.page.get_by_role("link", name="train").first).to_be_visible()
        for _ in range(40):
            keyboard.press("Tab")
            if "/jobs/raysubmit_failed" in (visitor.page.evaluate("document.activeElement.href") or ""):
                break
        keyboard.press("Enter")
        expect(visitor.page.get_by_role("heading", name="Why it failed")).to_be_visible()
        expect(visitor.page.locator(".cause").first).to_contain_text("ValueError: batch 17 has 3 columns")


def test_without_javascript_everything_is_there_but_updates(full: tuple[Page, str], browser: Browser) -> None:
    page, url = full
    with visiting(browser, link(page, url), java_script_enabled=False) as visitor:
        visitor.page.get_by_label("Search", exact=True).fill("vision")
        visitor.page.get_by_role("button", name="Show").click()
        visitor.page.get_by_role("link", name="train").first.click()
        expect(visitor.page.locator(".cause").first).to_contain_text("ValueError: batch 17 has 3 columns")
        visitor.page.goto(f"{url}/jobs/raysubmit_0000")
        expect(visitor.page.locator("#log-box")).to_contain_text("line 299999 of many")
        visitor.page.get_by_role("link", name="Begin", exact=True).click()
        expect(visitor.page.locator("#log-box")).to_contain_text("line 0 of many")
        visitor.page.get_by_role("searchbox", name="Search in the log").fill("line 150000 of")
        visitor.page.get_by_role("button", name="Find").click()
        expect(visitor.page.locator("#log-box mark").first).to_contain_text("line 150000 of")


def test_a_job_of_the_stock_client_is_seen_live_through_a_real_keeper(
    head: Head, cli: Cli, browser: Browser, tmp_path: Path
) -> None:
    submission_id = new_id()
    with keep(cli, head.url, tmp_path / "kept", token=head.token) as keeper:
        wait_until(lambda: "Page: " in "".join(keeper.lines), 60)
        page = cli.start("page", "--no-open", "--keeper", keeper.url)
        assert page.stdout is not None
        opened = page.stdout.readline().decode().strip()
        with visiting(browser, opened) as visitor:
            code = "import time; print('begin', flush=True); time.sleep(6); print('end'); raise SystemExit(3)"
            submit_with_stock_client(head, submission_id, f'python -c "{code}"')
            visitor.page.locator(f'a[href="/jobs/{submission_id}"]').click(timeout=60_000)
            expect(visitor.page.locator("#log-box")).to_contain_text("begin", timeout=60_000)
            expect(visitor.page.locator("h1")).to_contain_text("Failed", timeout=60_000)
            expect(visitor.page.locator("#log-box")).to_contain_text("end", timeout=30_000)
            expect(visitor.page.locator(".outcome")).to_contain_text("exit code 3")
        page.send_signal(signal.SIGINT)
        page.communicate(timeout=60)
    assert KeptJobs(tmp_path / "kept").job(submission_id) is not None
