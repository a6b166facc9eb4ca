"""What the demonstration does and shows, step by step."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import click

from demo.archive import ARCHIVE_URL, publish
from demo.listing import line, tree_lines
from demo.reference_build import (
    FULL_PAYLOAD,
    MTON_PAYLOAD,
    NTON_PAYLOAD,
    STATEFUL,
    VERSION,
    BuildSizes,
    make_reference_build,
)
from demo.served_build import Client, Tree
from demo.servers import DemoError, Server
from staging.units import in_bytes

# Where in the build's directory each object that is staged as it is ends up.
_SERVED_AS = {
    FULL_PAYLOAD: "update.gz",
    STATEFUL: "stateful.tgz",
    NTON_PAYLOAD: f"au/{VERSION}_nton/update.gz",
    MTON_PAYLOAD: f"au/{VERSION}_mton/update.gz",
}
_SYNCHRONOUS = ("update.gz", "stateful.tgz", "autotest/test_suites/")
_BACKGROUND = (
    "autotest/client/",
    "autotest/packages/",
    "autotest/server/",
    "autotest/utils/",
    f"au/{VERSION}_nton/",
    f"au/{VERSION}_mton/",
)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    click.echo(f"{title} ...", nl=False)
    began = monotonic()
    yield
    click.echo(f" {monotonic() - began:.1f} s")


def make_build(directory: Path, sizes: BuildSizes) -> dict[str, Path]:
    """Make the build's objects, and list them."""
    with step("Making a build out of files of this machine"):
        objects = make_reference_build(directory, sizes)
    for name, path in objects.items():
        click.echo(line(name, path.stat().st_size))
    return objects


def publish_build(objects: Mapping[str, Path], emulator: Server) -> None:
    """Upload the objects into the archive that ``emulator`` is."""
    click.echo(f"\nAn emulator of Google Cloud Storage is up at {emulator.url}")
    with step(f"Publishing the build as {ARCHIVE_URL}"):
        publish(objects)


def stage_build(objects: Mapping[str, Path], client: Client, devserver: Server) -> None:
    """Have the devserver stage the build, and check what it promises.

    Raises:
        DemoError: it does not keep a promise, answers an error, or does not answer.

    """
    _call(client, f"{devserver.url}/download?archive_url={ARCHIVE_URL}")
    first = client.tree()
    _show(client, first)
    _check_download(first, objects)
    _call(client, f"{devserver.url}/wait_for_status?archive_url={ARCHIVE_URL}")
    last = client.tree()
    _show(client, last)
    _check_everything(first, last, objects)
    _check_bytes(client, objects)


def _call(client: Client, url: str) -> None:
    """A command as one could type it, and what it answers."""
    click.secho(f"\n$ curl {shlex.quote(url)}", bold=True)
    began = monotonic()
    answer = client.text(url)
    click.echo(f"{answer}   (after {monotonic() - began:.2f} s)")
    if answer != "Success":
        raise DemoError(f"GET {url} answered {answer!r} instead of 'Success'")


def _show(client: Client, tree: Tree) -> None:
    click.echo(f"\nServed by now at {client.build_url}")
    for text in tree_lines(tree):
        click.echo(text)


def _check_download(tree: Tree, objects: Mapping[str, Path]) -> None:
    """Check that what was promised is staged, and that the rest is not yet; say which."""
    _require(_SYNCHRONOUS, tree, "/download")
    _check_sizes(tree, objects, [FULL_PAYLOAD, STATEFUL])
    missing = [place for place in _BACKGROUND if not _is_in(place, tree)]
    if not missing:
        raise DemoError("everything was staged when /download had answered: nothing was left to the background")
    say("/download answered before these of the background artifacts were staged:", *missing)


def _check_everything(first: Tree, last: Tree, objects: Mapping[str, Path]) -> None:
    _require(_SYNCHRONOUS + _BACKGROUND, last, "/wait_for_status")
    _check_sizes(last, objects, list(_SERVED_AS))
    changed = [path for path, size in first.items() if last.get(path) != size]
    if changed:
        raise DemoError(f"{changed[0]} was served after /download, and then changed")
    say(f"Now all of it is staged: {len(last.keys() - first.keys()):,} files since /download answered.")


def _check_bytes(client: Client, objects: Mapping[str, Path]) -> None:
    """Check that what is served has the digests of what was uploaded."""
    click.echo("\nFetched over HTTP:")
    for name, path in _SERVED_AS.items():
        served = client.sha256(path)
        if served != sha256_of(objects[name]):
            raise DemoError(f"{client.build_url}{path} has the sha256 {served}, which is not that of {name}")
        click.echo(f"  sha256 {served}  {path}")
    say("The bytes that are served are those that were uploaded.")


def _require(places: tuple[str, ...], tree: Tree, method: str) -> None:
    for place in places:
        if not _is_in(place, tree):
            raise DemoError(f"{method} answered Success, and {place} is not served")


def _check_sizes(tree: Tree, objects: Mapping[str, Path], names: list[str]) -> None:
    for name in names:
        served, size = tree[_SERVED_AS[name]], objects[name].stat().st_size
        if served != size:
            raise DemoError(f"{_SERVED_AS[name]} has {in_bytes(served)} of the {in_bytes(size)} of {name}")


def _is_in(place: str, tree: Tree) -> bool:
    """Whether the file ``place`` is there; of a directory, which ends with a slash, whether a file below it is."""
    return any(path.startswith(place) if place.endswith("/") else path == place for path in tree)


def say(text: str, *places: str) -> None:
    """Say what was shown, and ``places`` that it is about."""
    click.secho(f"\n{text}", fg="green")
    for place in places:
        click.secho(f"  {place}", fg="green")


def sha256_of(path: Path) -> str:
    """The digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            digest.update(piece)
    return digest.hexdigest()
