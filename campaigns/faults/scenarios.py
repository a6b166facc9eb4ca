"""What is done while a fault happens, and what has to be true once it has been done again on a disk that works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from campaigns.faults.disk import not_gone, not_whole, put_foreign
from campaigns.faults.world import BUILDS, NO_LIMITS, Server
from downloader import Wish
from staging.errors import NotStaged
from staging.eviction import Limits
from staging.healing import take_out
from staging.holds import Term, holds_of, lease_for
from staging.inspection import ByContent
from staging.layout import BuildPlaces
from staging.pace import Pace
from staging.verification import verify

ONE, PINNED, LEASED, OTHER = BUILDS
DAY = 86400.0
_SOURCES = ("stateful.tgz", "test_suites.tar.bz2", "other.bin")
_DAMAGED_PATHS = ("update.gz", "autotest/client/site_tests/t1/control")
_DAMAGED = frozenset(_DAMAGED_PATHS)
Prepare = Callable[[Server], None]
Do = Callable[[Server], None]
Wrong = Callable[[Server], Iterator[str]]


@dataclass(frozen=True)
class Scenario:
    """One thing that a devserver does.

    Attributes:
        name: what it is called.
        prepare: puts onto the disk what there is before; no call fails then.
        do: what is done. It raises where it was not done.
        wrong: what is not as it should be, once it was done.
        limits: of the disk.
        cut_off: what a crash cut off before that, and which part of its calls had been made.
        damaged: paths of the first build that are not as they should be before; they may be so until it was done.

    """

    name: str
    prepare: Prepare
    do: Do
    wrong: Wrong
    limits: Limits = NO_LIMITS
    cut_off: tuple[Do, float] | None = None
    damaged: frozenset[str] = frozenset()


def _foreign(server: Server) -> None:
    put_foreign(server.static_dir / ONE.path)


def _staged(server: Server) -> None:
    server.stage(ONE)
    put_foreign(server.static_dir / ONE.path)


def _in_part(server: Server) -> None:
    server.stage(ONE, ["full_payload", "autotest"])
    put_foreign(server.static_dir / ONE.path)


def _several(server: Server) -> None:
    for build in (ONE, PINNED, LEASED):
        server.stage(build)
        put_foreign(server.static_dir / build.path)
    server.holds.pin(PINNED.path)
    server.holds.lease(LEASED.path, Term(DAY, "lab"))


def _damaged(server: Server) -> None:
    _staged(server)
    directory = server.static_dir / ONE.path
    payload, control = _DAMAGED_PATHS
    os.truncate(directory / payload, 10)
    (directory / control).unlink()
    (directory / ".devserver" / "test_suites.files.json").write_text("{")


def _flipped(server: Server) -> None:
    _staged(server)
    for path in _DAMAGED_PATHS:
        file = server.static_dir / ONE.path / path
        content = bytearray(file.read_bytes())
        content[7] ^= 1
        file.write_bytes(content)


def _broken_manifest(server: Server) -> None:
    _staged(server)
    (server.static_dir / ONE.path / ".devserver" / "manifest.json").write_text("{ this is none")


def _source(server: Server) -> None:
    """A build that lies in the static directory."""
    directory = server.static_dir / OTHER.path
    directory.mkdir(parents=True)
    for name in _SOURCES:
        (directory / name).write_bytes(OTHER.objects[name])


def _own_source(server: Server) -> None:
    _source(server)
    _stage_own(server)


def _stage_own(server: Server) -> None:
    url = f"file://{server.static_dir}/{OTHER.path}"
    server.downloader.stage(url, Wish(artifacts=("stateful", "test_suites"), files=("other.bin",)))


def _remove(server: Server, path: str = ONE.path) -> None:
    try:
        server.downloader.remove(path)
    except NotStaged:  # it was done before something else failed
        return


def _wrong_own(server: Server) -> Iterator[str]:
    for name in _SOURCES:
        file = server.static_dir / OTHER.path / name
        if not file.is_file() or file.read_bytes() != OTHER.objects[name]:
            yield f"LOST: {OTHER.path}/{name}, which is its own source"


def _wrong_own_removed(server: Server) -> Iterator[str]:
    yield from _wrong_own(server)
    if (server.static_dir / OTHER.path / ".devserver").exists():
        yield f"ORPHAN: {OTHER.path} is removed, and its records are not"


def _evict(server: Server) -> None:
    server.room.tend()
    if (server.static_dir / ONE.path / ".devserver" / "manifest.json").exists():
        raise RuntimeError("it was not evicted")


def _wrong_holds(server: Server) -> Iterator[str]:
    if not holds_of(BuildPlaces(server.static_dir, PINNED.path)).is_pinned:
        yield "LOST: the pin"
    leases = holds_of(BuildPlaces(server.static_dir, LEASED.path)).leases
    if [lease.holder for lease in leases][:1] != ["lab"]:
        yield "LOST: the lease"
    if holds_of(BuildPlaces(server.static_dir, LEASED.path)).is_pinned:
        yield "WRONG: a build that nobody pinned counts as pinned"


def _wrong_evicted(server: Server) -> Iterator[str]:
    yield from _wrong_holds(server)
    yield from not_gone(server.static_dir, ONE)
    for build in (PINNED, LEASED):
        yield from not_whole(server.static_dir, build)


def _make_room(server: Server) -> None:
    server.stage(OTHER)
    server.room.tend()  # of a build that could not be looked at, nobody knew how large it is


def _wrong_room(server: Server) -> Iterator[str]:
    yield from _wrong_evicted(server)
    yield from not_whole(server.static_dir, OTHER)


def _hold(server: Server) -> None:
    server.holds.pin(LEASED.path)
    server.holds.unpin(LEASED.path)
    lease_for(BuildPlaces(server.static_dir, LEASED.path), Term(2 * DAY, "other"))
    lease = server.holds.lease(LEASED.path, Term(DAY, "brief"))
    server.holds.renew(LEASED.path, lease.id, DAY)
    server.holds.release(LEASED.path, lease.id)
    holders = {lease.holder for lease in server.holds.of(LEASED.path).leases}
    if not {"lab", "other"} <= holders:
        raise RuntimeError(f"leased by {holders}")


def _wrong_held(server: Server) -> Iterator[str]:
    yield from _wrong_holds(server)
    for build in (ONE, PINNED, LEASED):
        yield from not_whole(server.static_dir, build)


def _verify(server: Server) -> None:
    places = BuildPlaces(server.static_dir, ONE.path)
    found = verify(places, Pace(10**12, Flag()))
    if found is not None:
        take_out(places, found, ByContent())
    server.stage(ONE)


def _wrong_one(server: Server) -> Iterator[str]:
    return not_whole(server.static_dir, ONE)


def _wrong_removed(server: Server) -> Iterator[str]:
    return not_gone(server.static_dir, ONE)


def _stage_one(server: Server) -> None:
    server.stage(ONE)


def _clean(server: Server) -> None:
    server.stage(ONE, ["full_payload", "stateful", "test_suites", "autotest", "nton_payload"], clean=True)


def _start(server: Server) -> None:
    server.downloader.start()
    server.stage(ONE)


_FEW_BYTES = Limits(max_bytes=2 * sum(len(content) for content in PINNED.files.values()) + 1000)
_ONE_MORE = Limits(max_bytes=3 * sum(len(content) for content in PINNED.files.values()) + 25_000)

SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        Scenario("stage", _foreign, _stage_one, _wrong_one),
        Scenario("stage-the-rest", _in_part, _stage_one, _wrong_one),
        Scenario("stage-anew", _staged, _clean, _wrong_one),
        Scenario("stage-own-source", _source, _stage_own, _wrong_own),
        Scenario("remove", _staged, _remove, _wrong_removed),
        Scenario("remove-own-source", _own_source, lambda server: _remove(server, OTHER.path), _wrong_own_removed),
        Scenario("evict", _several, _evict, _wrong_evicted, _FEW_BYTES),
        Scenario("make-room", _several, _make_room, _wrong_room, _ONE_MORE),
        Scenario("hold", _several, _hold, _wrong_held),
        Scenario("heal", _damaged, _stage_one, _wrong_one, damaged=_DAMAGED),
        Scenario("heal-manifest", _broken_manifest, _stage_one, _wrong_one),
        Scenario("verify", _flipped, _verify, _wrong_one, damaged=_DAMAGED),
        *(Scenario(f"recover-{n}", _foreign, _start, _wrong_one, cut_off=(_stage_one, n / 10)) for n in (3, 6, 8, 9)),
        Scenario("recover-anew", _staged, _start, _wrong_one, cut_off=(_clean, 0.8)),
        Scenario("recover-removal", _staged, _start, _wrong_one, cut_off=(_remove, 0.6)),
    )
}


def archive_of(directory: Path) -> None:
    """Make the archive that all scenarios stage from."""
    for build in BUILDS:
        build.write(directory / "archive")
