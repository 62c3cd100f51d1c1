"""A real Chromium, driven by Playwright, that notes what no page of ours may do."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
# Without these Chromium asks its maker's hosts.
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
)
NOT_FOUND = "the server responded with a status of 404"


@dataclass
class Visitor:
    """A window of a browser.

    Attributes:
        page: The window.
        faults: What no page of ours may do: errors in the console, requests to other hosts, dialogs.
    """

    page: Page
    faults: list[str] = field(default_factory=list)

    def watch(self, base: str) -> None:
        """Notes faults from now on. `base` is the only origin that may be asked."""
        self.page.on("console", lambda message: self._note("console", message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self._note_request(request.url, base))

    def _note(self, what: str, kind: str, text: str) -> None:
        if kind in ("error", "warning") and NOT_FOUND not in text:
            self.faults.append(f"{what}: {text}")

    def _note_request(self, url: str, base: str) -> None:
        if not url.startswith((f"{base}/", "data:", "blob:")):
            self.faults.append(f"a request to {url}")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts Chromium; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium (Debian package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visiting(browser: Browser, link: str, **options: Any) -> Iterator[Visitor]:
    """Opens a window and a link with a one-time key in it. At its end no fault may have been noted.

    Args:
        browser: The browser.
        link: What `rayjobs page` prints.
        options: Of the window, see `Browser.new_context` of Playwright.
    """
    context: BrowserContext = browser.new_context(**options)
    try:
        visitor = Visitor(context.new_page())
        visitor.watch(link.partition("/open")[0])
        visitor.page.goto(link)
        yield visitor
        assert visitor.faults == []
    finally:
        context.close()
