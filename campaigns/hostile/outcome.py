"""What staging a hostile file may come to, and what has to be true of the disk and the logs afterwards."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from campaigns.hostile.files import HostileFile, artifact_of
from campaigns.hostile.lab import SECRET_TEXT, Lab
from campaigns.hostile.requests import request
from campaigns.hostile.verdict import problems
from tests.builds import BUCKET, published
from tests.test_hostile import BEARER

_ESCAPED = (Path("/tmp/devserver-escaped"), Path("/tmp/escaped"), Path("/escaped"))  # noqa: S108 - names in tarballs
_NEVER_LOGGED = ("Traceback (most recent call last)",)


def stage_file(lab: Lab, number: int, file: HostileFile) -> list[str]:
    """Have the file staged as a build of its own; what was wrong with the answer."""
    build = f"hostile/v{number}"
    lab.archive.put(BUCKET, f"{build}/hostile.{file.suffix}", file.content)
    way = lab.ways[number % len(lab.ways)]
    target = f"/stage?archive_url=gs://{BUCKET}/{build}&artifacts={artifact_of(file.suffix)}"
    try:
        answer = way.ask(request(target, BEARER))
    except OSError as error:
        return [f"{way.name}: {error!r}"]
    found = problems("files", answer, (str(lab.directory),), SECRET_TEXT)
    if not (answer.endswith(b"Success") or b" 500 " in answer[:20]):
        found.append(f"answered {answer[:300]!r}")
    return [f"{way.name}: {problem}" for problem in found]


def outside(directory: Path) -> dict[str, int]:
    """The files of the directory that no server has a right to change, and when each was changed."""
    kept = {".log", ".pid", ".port"}
    paths = (path for path in directory.rglob("*") if "static" not in path.parts and path.suffix not in kept)
    return {str(path): path.lstat().st_mtime_ns for path in paths if path.is_file()}


def wrong_afterwards(lab: Lab, before: dict[str, int]) -> Iterator[str]:
    """What is not as it has to be when all was sent."""
    if outside(lab.directory) != before:
        changed = set(outside(lab.directory).items()) ^ set(before.items())
        yield f"changed outside: {sorted({path for path, _ in changed})[:5]}"
    yield from (f"{path} was written" for path in _ESCAPED if path.exists() or path.is_symlink())
    for server in lab.servers:
        if server.process.poll() is not None:
            yield f"{server.log_file.name}: the devserver ended"
        yield from (
            f"{server.log_file.parent.name}: the log says {word!r}" for word in _NEVER_LOGGED if word in server.log
        )
        yield from _wrong_in(server.static_dir)
        if published(server.static_dir / lab.build.path).get("update.gz") is None:
            yield "the good build is gone"


def _wrong_in(static_dir: Path) -> Iterator[str]:
    """Files that no build may have."""
    root = static_dir.resolve()
    for path in static_dir.rglob("*"):
        status = path.lstat()
        name = str(path.relative_to(static_dir))
        if not name.isprintable() and any(ord(character) < 32 or ord(character) == 127 for character in name):
            yield f"a control character in {name!r}"
        if path.is_symlink():
            if not _end_of(path).is_relative_to(root):
                yield f"{name!r} leads out"
        elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            yield f"{name!r} is no file"
        elif status.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH):
            yield f"{name!r} has the mode {status.st_mode:o}"


def _end_of(link: Path) -> Path:
    """Where the kernel says that a link leads; the next step of one that leads nowhere, or through too many others."""
    try:
        descriptor = os.open(link, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return Path(os.path.normpath(link.parent.resolve() / link.readlink()))
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)
