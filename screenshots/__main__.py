"""``python -m screenshots``: takes the pictures of the documentation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import click
from playwright.sync_api import Browser, sync_playwright

from screenshots.scene import Scene, scene

_TARGET = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
_CHROMIUM = "/usr/bin/chromium"
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Of the servers, on the pictures: no port changes from one time to the next.
_NAME, _GUARDED = "devserver", "guarded-devserver"
_WIDTHS = (360, 1600)
_HEIGHT = 800  # at least: a picture shows the whole page
_SETTLED = 300.0  # milliseconds, after which a page has its final form
_MOVING = 5500.0  # milliseconds, over which a page takes the speed of what moves

Theme = Literal["light", "dark"]


class Shot(NamedTuple):
    """A page to take pictures of.

    Attributes:
        name: what the files' names begin with.
        path: its address on the devserver.
        themes: a picture for each, and each width.
        moves: whether it shows the progress of something.
        server: the name of the devserver.

    """

    name: str
    path: str
    themes: tuple[Theme, ...] = ("light",)
    moves: bool = False
    server: str = _NAME


def shots(of: Scene) -> list[Shot]:
    """Every page; first those that show what moves."""
    return [
        Shot("front", "/", ("light", "dark"), moves=True),
        Shot("build-under-way", f"/builds/{of.under_way}", ("light", "dark"), moves=True),
        Shot("download", "/download"),
        Shot("build-staged", f"/builds/{of.staged}"),
        Shot("build-failed", f"/builds/{of.failed}"),
        Shot("remove", f"/builds/{of.staged}?ask=remove"),
        Shot("files", f"/static/{of.staged}/"),
        Shot("doc", "/doc"),
        Shot("doc-of-one", "/doc/download"),
        Shot("welcome", "/", server=_GUARDED),
        Shot("login", "/login", server=_GUARDED),
        Shot("error", "/wait_for_status?archive_url=gs://chromeos-image-archive/x86-mario-release/R99-1.0.0"),
    ]


@click.command()
@click.option("--only", multiple=True, help="The pictures of this name; repeatable.")
@click.option(
    "--target",
    type=click.Path(file_okay=False, path_type=Path),
    default=_TARGET,
    show_default="docs/screenshots",
    help="Directory to put them in.",
)
def command_line(only: tuple[str, ...], target: Path) -> None:
    """Start a devserver, stage builds from a scripted archive, and take a picture of every page."""
    target.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="devserver-screenshots-"))
        shown = stack.enter_context(scene(Path(directory)))
        browser = stack.enter_context(_browser({_NAME: shown.server.port, _GUARDED: shown.guarded.port}))
        for shot in shots(shown):
            if not only or shot.name in only:
                _take(browser, shot, target)


@contextmanager
def _browser(ports: Mapping[str, int]) -> Iterator[Browser]:
    """Debian's Chromium, for which the devservers on these ports are at http:// and their names."""
    rules = [f"MAP {name}:80 127.0.0.1:{port}" for name, port in ports.items()]
    with sync_playwright() as playwright:
        arguments = [*_ARGUMENTS, f"--host-resolver-rules={', '.join([*rules, 'MAP * ~NOTFOUND'])}"]
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def _take(browser: Browser, shot: Shot, target: Path) -> None:
    """Take all pictures of one page."""
    for theme in shot.themes:
        for width in _WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": _HEIGHT}, color_scheme=theme)
            page.goto(f"http://{shot.server}{shot.path}", wait_until="load")
            if shot.moves:
                page.locator("[data-speed]:not(:empty)").first.wait_for()
            page.wait_for_timeout(_MOVING if shot.moves else _SETTLED)
            path = target / f"{shot.name}{'-dark' if theme == 'dark' else ''}-{width}.png"
            page.screenshot(path=path, full_page=True)
            page.close()
            click.echo(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    command_line()
