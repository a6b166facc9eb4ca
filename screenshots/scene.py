"""What is on the pictures: a devserver with builds that are staged, one that failed and one that is under way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag
from time import monotonic, time
from typing import NamedTuple

from tests.builds import FULL_PAYLOAD, MTON_PAYLOAD, NTON_PAYLOAD, Build, make_build, noise, tarball
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, eventually
from web.access.tokens import SCOPES, make_token

_MIB = 1024**2
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_AUTOTEST = "autotest.tar.bz2"
# An archive far away: objects are fetched in slices, by several connections.
_BYTES_PER_SECOND = 8e6
_FOR_LONG = "600"  # seconds: longer than it takes to take all pictures
_CHANGED_AT = 1_767_225_600.0  # 2026-01-01, of all files that are listed

_UNDER_WAY = ("x86-mario-release", "R18-1660.0.0-a1-b1519")
_FAILED = ("x86-alex-release", "R18-1654.0.0-a1-b1512")
STAGED = ("x86-mario-release", "R17-1413.0.0-a1-b1346")
_OTHERS = (
    ("x86-zgb-release", "R17-1412.2.0-a1-b1344"),
    ("lumpy-release", "R17-1411.0.0-a1-b1340"),
    ("x86-mario-release", "R16-1193.0.0-a1-b1200"),
)
# How long ago each was staged, and used.
_AGES = ((12 * _MINUTE, 3 * _MINUTE), (50 * _MINUTE, 45 * _MINUTE), (5 * _HOUR, 2 * _HOUR), (6 * _DAY, 3 * _DAY))
# Of the build that is under way: bytes of its large objects, how many of each come in a second, and how many there are
# when the first picture is taken. The last ones come after the last picture.
_SIZES = {NTON_PAYLOAD: 120 * _MIB, MTON_PAYLOAD: 160 * _MIB, _AUTOTEST: 96 * _MIB}
_SLOWLY = 1.0 * _MIB
_AT_FIRST = 24 * _MIB


class Scene(NamedTuple):
    """The devserver, one that takes a token to read, and the paths of the former's builds."""

    server: DevServer
    guarded: DevServer
    staged: str
    failed: str
    under_way: str


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """A devserver in ``directory`` that stages one build for as long as it is looked at."""
    gate = Flag()
    with ExitStack() as stack:
        archive = stack.enter_context(FakeArchive(bytes_per_second=_BYTES_PER_SECOND))
        options = ("--stall-timeout", _FOR_LONG, "--production")
        server = DevServer(directory, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        stack.callback(server.close)
        guarded = stack.enter_context(_guarded(directory / "guarded"))
        stack.callback(gate.set)
        staged = [_stage(server, archive, *name) for name in (STAGED, *_OTHERS)]
        failed = _fail(server, archive)
        for path, (age, unused) in zip(staged, _AGES, strict=True):
            _backdate(server.static_dir / path, age, unused)
        under_way = _begin(server, archive, gate)
        yield Scene(server, guarded, staged[0], failed, under_way)


@contextmanager
def _guarded(directory: Path) -> Iterator[DevServer]:
    """A devserver that wants a token of whoever reads."""
    directory.mkdir()
    tokens = directory / "tokens"
    tokens.write_text(f"{make_token('lab', SCOPES)[1].line}\n")
    tokens.chmod(0o600)
    server = DevServer(directory, "--tokens", str(tokens), "--require-token-to-read", "--production")
    try:
        yield server
    finally:
        server.close()


def _large_build(target: str, version: str) -> Build:
    """A build whose parts are of unlike sizes, as those of real ones are, if a hundred times as small."""
    build = make_build(scale=10, target=target, version=version)
    build.objects[FULL_PAYLOAD] = noise(10 * _MIB, target + version)
    build.objects[NTON_PAYLOAD] = noise(3 * _MIB, version)
    return build


def _stage(server: DevServer, archive: FakeArchive, target: str, version: str) -> str:
    build = _large_build(target, version).upload(archive)
    server.stage(build.url)
    return build.path


def _fail(server: DevServer, archive: FakeArchive) -> str:
    """A build whose autotest was cut off before it was published."""
    build = _large_build(*_FAILED)
    whole = build.objects[_AUTOTEST]
    build.objects[_AUTOTEST] = whole[: len(whole) // 2]
    build.upload(archive)
    server.download(build.url)
    server.wait_for_status(build.url)
    return build.path


def _begin(server: DevServer, archive: FakeArchive, gate: Flag) -> str:
    """A build that is being staged until the ``gate`` is opened."""
    build = _large_build(*_UNDER_WAY)
    for name in (NTON_PAYLOAD, MTON_PAYLOAD):
        build.objects[name] = noise(_SIZES[name], name)
    build.objects[_AUTOTEST] = tarball({"autotest/data": noise(_SIZES[_AUTOTEST], _AUTOTEST)}, compression="")
    build.upload(archive)
    archive.bytes_per_second = _SLOWLY
    began = monotonic()

    def wait_for_ones_turn(name: str, start: int) -> None:
        if name in _SIZES:
            gate.wait(max(0.0, began + start / _SLOWLY - monotonic()))

    archive.call_before_reads(wait_for_ones_turn)
    server.download(build.url)
    eventually(lambda: _bytes_under_way(server, build.path) > _AT_FIRST, timeout=60)
    return build.path


def _bytes_under_way(server: DevServer, path: str) -> int:
    artifacts = server.get(f"/api/v1/builds/{path}").json()["artifacts"]
    return sum(one["bytes_done"] for one in artifacts if one["state"] == "downloading")


def _backdate(build: Path, age: float, unused: float) -> None:
    """Have a staged build be older than it is."""
    manifest = build / ".devserver" / "manifest.json"
    content = json.loads(manifest.read_text())
    for record in content["artifacts"].values():
        if record.get("staged_at"):
            record["staged_at"] = time() - age
    changed = manifest.with_name("changed.json")
    changed.write_text(json.dumps(content))
    changed.replace(manifest)
    last_use = build / ".devserver" / "last-use"
    last_use.touch()
    os.utime(last_use, (time() - unused,) * 2)
    for path in build.rglob("*"):
        if ".devserver" not in path.parts:
            os.utime(path, (_CHANGED_AT, _CHANGED_AT), follow_symlinks=False)
