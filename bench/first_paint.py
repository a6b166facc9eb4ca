"""``python -m bench.first_paint``: how soon a browser shows the front page, with a thousand builds on it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
from playwright.sync_api import Page

from staging.archives import ArchiveObject
from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord, Manifest
from tests.browsing import chromium
from tests.servers import DevServer

_ARTIFACTS = 10  # of each build
_FIGURES = """() => {
  const page = performance.getEntriesByType("navigation")[0];
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return paint ? [paint.startTime, page.domContentLoadedEventEnd] : null;
}"""


@click.command()
@click.option("--builds", type=click.IntRange(min=0), default=1000, show_default=True, help="Builds on the devserver.")
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Visits.")
def command_line(builds: int, rounds: int) -> None:
    """Visit the front page, and say when its first content was painted and when all of it was there."""
    with tempfile.TemporaryDirectory() as directory:
        write_builds(Path(directory) / "static", builds)
        server = DevServer(Path(directory))
        try:
            figures = _visits(server.url, rounds)
        finally:
            server.close()
    click.echo(f"{builds} builds, {rounds} visits, milliseconds since the browser asked: median (range)")
    for name, values in zip(("first content painted", "all of it there"), zip(*figures, strict=True), strict=True):
        click.echo(f"{name}: {median(values):.0f} ({min(values):.0f} to {max(values):.0f})")


def write_builds(static_dir: Path, count: int) -> None:
    """Write the manifests of so many builds."""
    for number in range(count):
        path = f"board{number % 40}-release/R{17 + number // 50}-{number}.0.0"
        objects = (ArchiveObject(f"object-of-{path}", 1_000_000, "AAAAAA==", "1"),)
        record = ArtifactRecord("staged", objects, staged_at=1_700_000_000.0 + number, files=3, size=2_000_000)
        manifest = Manifest(f"gs://bucket/{path}", {f"artifact-{one}": record for one in range(_ARTIFACTS)})
        manifest.write(BuildPlaces(static_dir, path))


def _visits(url: str, rounds: int) -> Sequence[Sequence[float]]:
    figures: list[Any] = []
    with chromium() as browser:
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.goto(url)
            figures.append(_told(page))
            page.close()
    return figures


def _told(page: Page) -> Any:
    """What the browser tells of the visit, once it has painted something."""
    while (figures := page.evaluate(_FIGURES)) is None:
        page.wait_for_timeout(20)
    return figures


if __name__ == "__main__":
    command_line()
