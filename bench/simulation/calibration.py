"""The model's parameters for a small lab on this machine: every part is measured by itself, before the lab is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from bench.archive.data import SYNCHRONOUS, WARM_UP_PATH
from bench.archive.index import IndexedObject, indexed, write_index
from bench.archive.profiles import LOOPBACK, Profile, archive_server
from bench.devservers import Devserver, devserver
from bench.simulation.lab import Lab, Sizes, Speeds
from bench.simulation.model import devices_of
from bench.simulation.real_lab import Files, read
from demo.reference_build import FULL_PAYLOAD, STATEFUL, BuildSizes, make_reference_build
from staging.fetching import ReadSettings

_BUILD_BYTES = 40_000_000
_TINY = 400_000
_READERS = 8
_WAITING = 32
_ALONE = "alone-release/R17-1413.0.0-a1-b1346"  # a build that is staged by itself
PAYLOAD = "update.gz"  # what the full payload is served as


@dataclass(frozen=True)
class Links:
    """How slow the small lab's links are made, in bytes a second: slow enough for this machine to be no part of it."""

    device: float = 2_000_000
    port: float = 12_000_000
    internet: float = 6_000_000
    connection: float = 1_500_000
    latency: float = 0.02

    @property
    def profile(self) -> Profile:
        """The archive at the other end of that line."""
        return Profile("small lab", self.latency, int(self.connection), int(self.internet))


@dataclass(frozen=True)
class Calibrated:
    """What was measured: all that the model is given."""

    sizes: Sizes
    speeds: Speeds
    files: Files
    index: Path

    def told(self) -> dict[str, float]:
        """The parameters, by name."""
        return {**asdict(self.sizes), **asdict(self.speeds)}


def make_index(directory: Path, lab: Lab, seed: int) -> Path:
    """An archive that holds the builds of that lab, all of the same objects; where its index lies."""
    build = make_reference_build(directory / "build", BuildSizes.of_total(_BUILD_BYTES))
    tiny = make_reference_build(directory / "tiny", BuildSizes.of_total(_TINY))
    objects: dict[str, IndexedObject] = {f"{WARM_UP_PATH}/{name}": indexed(path) for name, path in tiny.items()}
    for name, path in build.items():
        item = indexed(path)
        objects |= {f"{one}/{name}": item for one in {_ALONE, *(device.path for device in devices_of(lab, seed))}}
    write_index(directory / "index.json", objects)
    return directory / "index.json"


class _Near(NamedTuple):
    """What a devserver beside its archive gave."""

    seconds: tuple[float, float]
    files: Files
    package_bytes: float
    serving: float
    request_seconds: float
    answer_seconds: float


def calibrate(index: Path, objects: Mapping[str, IndexedObject], links: Links, directory: Path) -> Calibrated:
    """Measure one part after the other: staging from near and far, sending, small files, answers."""
    synchronous = float(sum(item.size for name, item in objects.items() if name in SYNCHRONOUS))
    background = sum(item.size for item in objects.values()) - synchronous
    with _idle(index, LOOPBACK, directory / "near") as server:
        near = _near(server)
    with _idle(index, links.profile, directory / "far") as server:
        far = _staging(server)
    image = float(objects[FULL_PAYLOAD].size + objects[STATEFUL].size)
    sizes = Sizes(image, synchronous, background, near.package_bytes, len(near.files.packages))
    speeds = Speeds(
        device=links.device,
        port=links.port,
        internet=links.internet,
        serving=near.serving,
        request_seconds=near.request_seconds,
        answer_seconds=near.answer_seconds,
        one_synchronous=synchronous / far[0],
        all_synchronous=synchronous / near.seconds[0],
        one_background=background / far[1],
        all_background=background / near.seconds[1],
        connections=ReadSettings().threads,
    )
    return Calibrated(sizes, speeds, near.files, index)


def _near(server: Devserver) -> _Near:
    seconds = _staging(server)
    static = server.static_dir / _ALONE
    packages = sorted(static.glob("autotest/packages/*"))
    files = Files([PAYLOAD, STATEFUL], [str(path.relative_to(static)) for path in packages])
    return _Near(
        seconds,
        files,
        float(sum(path.stat().st_size for path in packages)),
        _serving(server),
        _seconds_each(_READERS * 8, partial(_get, server, files.packages[-1]), _READERS),
        _seconds_each(_WAITING, lambda _: server.download(_ALONE), _WAITING),
    )


@contextmanager
def _idle(index: Path, profile: Profile, directory: Path) -> Iterator[Devserver]:
    directory.mkdir()
    with archive_server(index, profile, directory) as archive, devserver(archive, directory, WARM_UP_PATH) as server:
        yield server


def _staging(server: Devserver) -> tuple[float, float]:
    """Seconds until ``/download`` answers, and from then on until ``/wait_for_status`` does."""
    begin = monotonic()
    server.download(_ALONE)
    answer = monotonic()
    server.wait_for_status(_ALONE)
    return answer - begin, monotonic() - answer


def _serving(server: Devserver) -> float:
    """Bytes a second that several readers without a limit get."""
    begin = monotonic()
    with ThreadPoolExecutor(_READERS) as pool:
        total = sum(pool.map(lambda _: _get(server, PAYLOAD, 0), range(_READERS)))
    return total / (monotonic() - begin)


def _get(server: Devserver, name: str, _: int) -> int:
    return read(server.port, f"{_ALONE}/{name}")


def _seconds_each(count: int, ask: Callable[[int], object], at_once: int) -> float:
    begin = monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(ask, range(count)))
    return (monotonic() - begin) / count
