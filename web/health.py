"""How the server is doing: sampled by the bus in the background, never by a request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import psutil
from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

_SECONDS_BETWEEN_SAMPLES = 2.0
_GIB = 1024**3
# Of what there is in all: less is nearly nothing.
_LEAST_DISK = 0.03
_LEAST_MEMORY = 0.05


class Load(NamedTuple):
    """What the server has taken on.

    Attributes:
        queued_downloads: downloads that wait for a place.
        waiting_clients: clients that wait for something.
        free_seats: how many more may.
        is_overloaded: whether new work would be refused, or would wait for long.

    """

    queued_downloads: int
    waiting_clients: int
    free_seats: int
    is_overloaded: bool


class HealthSampler(Monitor):  # type: ignore[misc]
    """Measures the machine every two seconds, from the moment that the bus starts.

    The names of the figures are those that the labs' load balancers read off a devserver's ``/check_health``.
    """

    def __init__(
        self,
        bus: Bus,
        static_dir: Path,
        staging_count: Callable[[], int],
        client_count: Callable[[], int],
        load: Callable[[], Load],
        more: Callable[[], dict[str, float]] = dict,
    ) -> None:
        """``more`` gives figures of other parts, which cost nothing."""
        super().__init__(bus, self._look, _SECONDS_BETWEEN_SAMPLES, name="health")
        self._static_dir = static_dir
        self._staging_count = staging_count
        self._client_count = client_count
        self._load = load
        self._more = more
        self._is_nearly_out = False
        self._before = (monotonic(), 0, 0)
        self._figures: dict[str, float] = {}
        self._sampled_at = monotonic()
        self._is_broken = False

    def start(self) -> None:
        """Take the first sample before the server listens, so that the first request finds one."""
        psutil.cpu_percent()
        self._before = (monotonic(), *_bytes_moved())
        self._look()
        super().start()

    def latest(self) -> dict[str, float]:
        """The latest figures, with those that cost nothing as they are now."""
        load = self._load()
        return {
            **self._figures,
            "figures_age_seconds": round(monotonic() - self._sampled_at, 1),
            "staging_thread_count": self._staging_count(),
            "apache_client_count": self._client_count(),
            "queued_downloads": load.queued_downloads,
            "waiting_clients": load.waiting_clients,
            "free_seats": load.free_seats,
            "overloaded": int(load.is_overloaded or self._is_nearly_out),
            **self._more(),
        }

    def _look(self) -> None:
        """Take a sample; where that fails, the latest one grows old. The log has the first failure of many in a row."""
        try:
            self._sample()
        except Exception as error:  # a monitor whose function raises ends for good
            if not self._is_broken:
                self.bus.log(f"the figures of /check_health cannot be renewed for now: {error}")
            self._is_broken = True
            return
        if self._is_broken:
            self.bus.log("the figures of /check_health are renewed again")
        self._is_broken = False

    def _sample(self) -> None:
        moment, disk, network = monotonic(), *_bytes_moved()
        seconds = max(moment - self._before[0], 0.001)
        self._figures = {
            "free_disk": psutil.disk_usage(str(self._static_dir)).free / _GIB,
            "cpu_percent": psutil.cpu_percent(),
            "disk_total_bytes_per_second": (disk - self._before[1]) / seconds,
            "network_total_bytes_per_second": (network - self._before[2]) / seconds,
        }
        self._is_nearly_out = _disk_is_nearly_full(self._static_dir) or _memory_is_nearly_used_up()
        self._before = (moment, disk, network)
        self._sampled_at = moment


def _disk_is_nearly_full(directory: Path) -> bool:
    """Whether there is hardly any room for bytes, or for files."""
    status = os.statvfs(directory)
    return status.f_bavail < _LEAST_DISK * status.f_blocks or status.f_favail < _LEAST_DISK * status.f_files


def _memory_is_nearly_used_up() -> bool:
    memory = psutil.virtual_memory()
    return bool(memory.available < _LEAST_MEMORY * memory.total)


def _bytes_moved() -> tuple[int, int]:
    """Bytes read and written by the disks, and sent and received by the network, since the machine started."""
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return (
        disk.read_bytes + disk.write_bytes if disk else 0,
        network.bytes_sent + network.bytes_recv if network else 0,
    )
