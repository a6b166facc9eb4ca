"""How far away the archive is; and the two distances that it is measured at."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Process, server


@dataclass(frozen=True)
class Profile:
    """How far away the archive is.

    Attributes:
        name: what tables call it.
        latency: seconds that pass before every answer.
        bytes_per_second: of each connection; 0 for no limit.
        line_bytes_per_second: of all connections together; 0 for no limit.

    """

    name: str
    latency: float
    bytes_per_second: int
    line_bytes_per_second: int = 0


LOOPBACK = Profile("loopback", 0.0, 0)
WIDE_AREA = Profile("wide area", 0.02, 50_000_000)
PROFILES = (LOOPBACK, WIDE_AREA)


@contextmanager
def archive_server(index: Path, profile: Profile, scratch: Path) -> Iterator[str]:
    """An archive that serves what ``index`` lists; its address."""
    with archive_process(index, profile, scratch) as (_, address):
        yield address


@contextmanager
def archive_process(index: Path, profile: Profile, scratch: Path) -> Iterator[tuple[Process, str]]:
    """The same, for who wants its process also."""
    name = f"archive-{profile.name.replace(' ', '-')}"
    portfile = scratch / f"{name}.port"
    command = [sys.executable, "-m", "bench.archive.server", str(index), str(portfile)]
    command += [str(profile.latency), str(profile.bytes_per_second), str(profile.line_bytes_per_second)]
    with server(command, portfile, scratch / f"{name}.log") as (process, port):
        yield process, f"http://127.0.0.1:{port}"
