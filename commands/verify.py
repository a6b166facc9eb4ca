"""`devserver verify`: every byte of the builds on the disk, held against what was staged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import Any, NamedTuple

import click

from commands.failures import CommandFailed, Interrupted
from commands.printing import print_json, say
from downloader import Downloader
from staging.archives import ArchiveUrl
from staging.build_names import fault_of_name
from staging.errors import DevServerError, InvalidArchiveUrl, NewerFormat, RecordError
from staging.healing import set_broken_manifest_aside, take_out
from staging.inspection import ByContent, Inspection
from staging.layout import BuildPlaces
from staging.manifest import Manifest
from staging.overview import builds_below
from staging.pace import Pace, step_back
from staging.placing import Placing
from staging.units import in_bytes
from staging.verification import verify

Machinery = Callable[[], AbstractContextManager[Downloader]]


class Manner(NamedTuple):
    """How to verify.

    Attributes:
        max_rate: bytes per second; None for no bound.
        as_json: whether the outcome is told as JSON.
        repair: makes what stages anew what is wrong; None where nothing is to be changed.

    """

    max_rate: float | None
    as_json: bool
    repair: Machinery | None


class Outcome(NamedTuple):
    """What became of one build: what was found, and of each artifact that was to be repaired, why it could not be."""

    places: BuildPlaces
    found: Inspection
    repaired: dict[str, str]

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with the build now."""
        return not [name for name in self.found.artifacts if self.repaired.get(name) != ""]

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON-safe data."""
        return {
            "build": self.places.build_path,
            "archive_url": self.found.archive_url,
            "files": self.found.files,
            "bytes": self.found.bytes,
            "without_checksum": self.found.without_checksum,
            "wrong": [one._asdict() for one in self.found.wrong],
            "repaired": sorted(name for name, cause in self.repaired.items() if not cause),
            "not_repaired": {name: cause for name, cause in self.repaired.items() if cause},
        }


def verify_builds(static_dir: Path, roots: Sequence[Path], names: Sequence[str], manner: Manner) -> None:
    """Verify the builds of these ``names``, paths or URLs, or all; ``roots`` are where ``file://`` URLs may lead.

    Raises:
        UsageError: a build is not here.
        CommandFailed: something is wrong.

    """
    builds = [_named(static_dir, roots, name) for name in dict.fromkeys(names)] or list(builds_below(static_dir))
    outcomes = []
    stopped = Flag()
    # Who reads lets everybody else go first; who repairs what is wrong does not.
    with ExitStack() as stack, ThreadPoolExecutor(1, initializer=step_back) as reader:
        try:
            for outcome in _outcomes(builds, manner, partial(_read, reader, Pace(manner.max_rate, stopped)), stack):
                outcomes.append(outcome)
                if not manner.as_json:
                    _show(outcome)
        except KeyboardInterrupt:
            stopped.set()
            raise Interrupted("interrupted; what was not told yet is not verified") from None
    if manner.as_json:
        print_json([outcome.to_json() for outcome in outcomes])
    bad = sum(not outcome.is_good for outcome in outcomes)
    if bad:
        raise CommandFailed(f"something is wrong with {bad} of {len(outcomes)} builds")
    if not manner.as_json:
        say(f"nothing is wrong with {len(outcomes)} builds")


def _named(static_dir: Path, roots: Sequence[Path], name: str) -> BuildPlaces:
    """The build of that path or URL.

    Raises:
        UsageError: it is not here.

    """
    url = None
    if "://" in name:
        try:
            url = ArchiveUrl.parse(name, roots, any_depth=True)
        except InvalidArchiveUrl as error:
            raise click.UsageError(str(error)) from None
    path = "/".join(part for part in name.split("/") if part)
    places = Placing(static_dir).of(url) if url else BuildPlaces(static_dir, path)
    manifest = None if fault_of_name(places.build_path) else _manifest_of(places)
    is_another = url and manifest and manifest.archive_url != str(url)
    if is_another or (manifest is None and not places.manifest.is_file()):
        raise click.UsageError(f"{name} is not staged in this static directory")
    return places


def _manifest_of(places: BuildPlaces) -> Manifest | None:
    """The manifest, or None where there is none that can be read.

    Raises:
        UsageError: it is of a later version.

    """
    try:
        return Manifest.read(places)
    except NewerFormat as error:
        raise click.UsageError(str(error)) from None
    except RecordError:
        return None


def _read(reader: ThreadPoolExecutor, pace: Pace, places: BuildPlaces) -> Inspection | None:
    return reader.submit(verify, places, pace).result()


def _outcomes(
    builds: Sequence[BuildPlaces],
    manner: Manner,
    read: Callable[[BuildPlaces], Inspection | None],
    stack: ExitStack,
) -> Iterator[Outcome]:
    downloader: Downloader | None = None
    for places in builds:
        found = read(places)
        if found is None:  # removed by now
            continue
        repaired: dict[str, str] = {}
        if found.wrong and manner.repair is not None:
            downloader = downloader or stack.enter_context(manner.repair())
            repaired = _repaired(places, found, downloader)
        yield Outcome(places, found, repaired)


def _repaired(places: BuildPlaces, found: Inspection, downloader: Downloader) -> dict[str, str]:
    """Stage the artifacts anew that something is wrong with; why not, for each that could not be."""
    if set_broken_manifest_aside(places):
        return {"": "nobody knows what was staged of it; it is staged anew when it is asked for"}
    wrong = take_out(places, found, ByContent())
    outcome = dict.fromkeys(found.artifacts, "")  # of what was staged anew in the meantime
    for name in wrong.artifacts if wrong is not None else ():
        try:
            downloader.stage_anew(places.build_path, found.archive_url, name)
        except DevServerError as error:
            outcome[name] = f"{error.kind}: {error}"
    return outcome


def _show(outcome: Outcome) -> None:
    path, found = outcome.places.build_path, outcome.found
    amount = f"{found.files} files, {in_bytes(found.bytes)}"
    unknown = f"; of {found.without_checksum}, the size alone is known" if found.without_checksum else ""
    say(f"{path}: {amount}: {f'{len(found.wrong)} wrong' if found.wrong else 'all right'}{unknown}")
    for one in found.wrong:
        say(f"  {one.artifact}: {one}" if one.artifact else f"  {one.reason}")
    for name, cause in outcome.repaired.items():
        if name:
            say(f"  {name}: {f'not repaired: {cause}' if cause else 'staged anew'}")
