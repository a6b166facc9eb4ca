"""A small lab of real devservers and real readers, whose links are as slow as they are told to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Lock, Thread

import requests

from bench.archive.data import WARM_UP_PATH
from bench.devservers import Devserver, devserver
from bench.samples import BenchError
from bench.simulation.lab import Lab, Speeds
from bench.simulation.model import Device, busiest, devices_of
from bench.simulation.placement import Ring

_PIECE = 32 * 1024
_MADE_UP = 0.25  # seconds that a reader may have run late, and make up for
_LONGEST = 600.0  # seconds


class Pace:
    """A link that carries so many bytes a second, whoever they are for."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0
        self._lock = Lock()

    def taken_until(self, size: int) -> float:
        """Take the link for ``size`` bytes; when they are through."""
        with self._lock:
            begin = max(self._free_at, time.monotonic() - _MADE_UP)
            self._free_at = begin + size / self._bytes_per_second
            return self._free_at


@dataclass(frozen=True)
class Files:
    """What devices read, as paths below a build: to be imaged, and for their tests."""

    image: Sequence[str]
    packages: Sequence[str]


@dataclass(frozen=True)
class RealCourse:
    """What happened in a real lab.

    Attributes:
        devices: all of them.
        archive_bytes: what the archive sent.

    """

    devices: list[Device]
    archive_bytes: float


def read(port: int, path: str, *paces: Pace) -> int:
    """Read a file of a devserver, no faster than the slowest of the links; how many bytes it has."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_LONGEST)
    try:
        connection.request("GET", f"/static/{path}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise BenchError(f"/static/{path} answered {answer.status}")
        total = 0
        while piece := answer.read(_PIECE):
            total += len(piece)
            until = max((pace.taken_until(len(piece)) for pace in paces), default=0.0)
            time.sleep(max(0.0, until - time.monotonic()))
        return total
    finally:
        connection.close()


def run_real(lab: Lab, speeds: Speeds, files: Files, seed: int, archive: str, directory: Path) -> RealCourse:
    """Have a real lab do what :func:`bench.simulation.model.run` computes."""
    with _devservers(lab.devservers, archive, directory) as servers:
        before = archive_bytes(archive)
        devices = _RealRun(lab, speeds, files, seed, servers).devices()
        return RealCourse(devices, archive_bytes(archive) - before)


def archive_bytes(archive: str) -> int:
    """Bytes of objects that the archive has sent so far."""
    return int(requests.get(f"{archive}/sent", timeout=60).json()["bytes"])


@contextmanager
def _devservers(count: int, archive: str, directory: Path) -> Iterator[list[Devserver]]:
    with ExitStack() as stack:
        directories = [directory / f"devserver-{number}" for number in range(count)]
        for each in directories:
            each.mkdir()
        yield [stack.enter_context(devserver(archive, each, WARM_UP_PATH)) for each in directories]


class _RealRun:
    """One run: a thread for each device, and one that loses a devserver."""

    def __init__(self, lab: Lab, speeds: Speeds, files: Files, seed: int, servers: Sequence[Devserver]) -> None:
        self._lab = lab
        self._speeds = speeds
        self._files = files
        self._devices = devices_of(lab, seed)
        self._servers = servers
        self._lost: set[int] = set()
        self._ports = [Pace(speeds.port) for _ in servers]
        ring = Ring(lab.devservers)
        self._order = {device.path: ring.order(device.path) for device in self._devices}
        self._failures: list[Exception] = []
        self._begin = 0.0

    def devices(self) -> list[Device]:
        """Let it all happen."""
        threads = [Thread(target=self._kept, args=(self._job, device), daemon=True) for device in self._devices]
        if self._lab.lost_at is not None:
            threads.append(Thread(target=self._lose, args=(self._lab.lost_at,), daemon=True))
        self._begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_LONGEST)
        if self._failures:
            raise BenchError(f"a device failed: {self._failures[0]}")
        return self._devices

    def _kept(self, job: Callable[[Device], None], device: Device) -> None:
        try:
            job(device)
        except Exception as failure:  # told by the thread that waits for all of them
            self._failures.append(failure)

    def _job(self, device: Device) -> None:
        self._wait_until(device.asked)
        self._persistently(device, self._image)
        device.imaged = self._now()
        if self._lab.with_tests:
            time.sleep(self._lab.restart)
            self._persistently(device, self._test)
            device.tested = self._now()

    def _persistently(self, device: Device, steps: Callable[[int, Device], None]) -> None:
        while True:
            number = self._server(device)
            try:
                steps(number, device)
            except (OSError, HTTPException):  # requests' own are OSErrors too
                if number not in self._lost:
                    raise
                device.restarts += 1
                time.sleep(self._lab.notice)
            else:
                return

    def _image(self, number: int, device: Device) -> None:
        self._servers[number].download(device.path)
        self._read(number, device, self._files.image)

    def _test(self, number: int, device: Device) -> None:
        self._servers[number].wait_for_status(device.path)
        self._read(number, device, self._files.packages)

    def _read(self, number: int, device: Device, names: Sequence[str]) -> None:
        own = Pace(self._speeds.device)
        for name in names:
            read(self._servers[number].port, f"{device.path}/{name}", own, self._ports[number])

    def _server(self, device: Device) -> int:
        alive = [number for number in self._order[device.path] if number not in self._lost]
        return alive[device.copy % min(self._lab.copies, len(alive))]

    def _lose(self, moment: float) -> None:
        self._wait_until(moment)
        lost = busiest([self._server(device) for device in self._devices])
        self._lost.add(lost)
        self._servers[lost].kill()

    def _wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - self._now()))

    def _now(self) -> float:
        return time.monotonic() - self._begin
