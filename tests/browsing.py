"""A real Chromium, and a watch over what its pages say and ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = "/usr/bin/chromium"  # Debian's
# It is to ask nobody for anything but the pages.
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
LOADING = 20_000  # milliseconds within which anything has to happen, on a busy machine
WIDTHS = (360, 1600)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """A browser, with more ``arguments``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS, *arguments])
        yield browser
        browser.close()


class Visitor:
    """A person at a browser, whose pages are to say nothing in the console and ask nobody else for anything."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        """``options`` are those of Playwright's ``new_context``; the visitor stays at ``url``."""
        self.context: BrowserContext = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(LOADING)
        self.context.on("request", self._note_request)
        self.context.on("console", self._note_message)
        self._host = urlsplit(url).netloc
        self.complaints: list[str] = []

    def open(self, address: str) -> Page:
        """A tab at that address."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.goto(address)
        return page

    def __enter__(self) -> Visitor:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.context.close()
        if error is None:
            assert not self.complaints

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != self._host:
            self.complaints.append(f"asked for {request.url}")

    def _note_message(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")
