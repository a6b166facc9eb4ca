"""``python -m bench.first_paint``: how soon a browser shows the front page, with a thousand builds on it."""

from __future__ import annotations

import tempfile
from collections import defaultdict
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
_FLOOR = "floor.txt"
_FIGURES = """() => {
  const page = performance.getEntriesByType("navigation")[0];
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return paint ? [paint.startTime, page.domContentLoadedEventEnd] : null;
}"""


@click.command()
@click.option("--builds", type=click.IntRange(min=0), default=1000, show_default=True, help="Builds on the devserver.")
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Visits of each kind.")
def command_line(builds: int, rounds: int) -> None:
    """Visit the front page, and say when its first content was painted and when all of it was there.

    Beside it, a text file of one word: what the browser takes for any page at all. Each is visited in a new tab, and in
    one that has shown another page of the devserver before.
    """
    with tempfile.TemporaryDirectory() as directory:
        static_dir = Path(directory) / "static"
        write_builds(static_dir, builds)
        (static_dir / _FLOOR).write_text("word\n")
        server = DevServer(Path(directory))
        try:
            figures = _visits(server.url, rounds)
        finally:
            server.close()
    click.echo(f"{builds} builds, {rounds} visits of each kind, milliseconds since the browser asked: median (range)\n")
    click.echo("| page | first content painted | all of it there |\n|---|---|---|")
    for kind, visits in figures.items():
        columns = [
            f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f})" for values in zip(*visits, strict=True)
        ]
        click.echo(f"| {kind} | {' | '.join(columns)} |")


def write_builds(static_dir: Path, count: int) -> None:
    """Write the manifests of so many builds."""
    for number in range(count):
        path = f"board{number % 40}-release/R{17 + number // 50}-{number}.0.0"
        objects = (ArchiveObject(f"object-of-{path}", 1_000_000, "AAAAAA==", "1"),)
        record = ArtifactRecord("staged", objects, staged_at=1_700_000_000.0 + number, files=3, size=2_000_000)
        manifest = Manifest(f"gs://bucket/{path}", {f"artifact-{one}": record for one in range(_ARTIFACTS)})
        manifest.write(BuildPlaces(static_dir, path))


def _visits(url: str, rounds: int) -> dict[str, list[Sequence[float]]]:
    """The figures of each visit, by its kind; kinds take turns."""
    figures: dict[str, list[Sequence[float]]] = defaultdict(list)
    with chromium() as browser:
        for _ in range(rounds):
            for name, path in (("front page", "/"), ("text file", f"/static/{_FLOOR}")):
                page = browser.new_page(viewport={"width": 1600, "height": 900})
                page.goto(f"{url}{path}")
                figures[f"{name}, new tab"].append(_told(page))
                page.goto(f"{url}/download")
                page.goto(f"{url}{path}")
                figures[f"{name}, tab in use"].append(_told(page))
                page.close()
    return figures


def _told(page: Page) -> Any:
    """What the browser tells of the visit, once it has painted something."""
    while (figures := page.evaluate(_FIGURES)) is None:
        page.wait_for_timeout(20)
    return figures


if __name__ == "__main__":
    command_line()
