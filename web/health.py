"""How the server is doing: sampled by the bus in the background, never by a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import psutil
from cherrypy.process.plugins import Monitor
from cherrypy.process.wspbus import Bus

_SECONDS_BETWEEN_SAMPLES = 2.0
_GIB = 1024**3


class HealthSampler(Monitor):  # type: ignore[misc]
    """Measures the machine every two seconds, from the moment that the bus starts.

    The names of the figures are those that the labs' load balancers read off a devserver's ``/check_health``.
    """

    def __init__(
        self, bus: Bus, static_dir: Path, staging_count: Callable[[], int], client_count: Callable[[], int]
    ) -> None:
        super().__init__(bus, self._sample, _SECONDS_BETWEEN_SAMPLES, name="health")
        self._static_dir = static_dir
        self._staging_count = staging_count
        self._client_count = client_count
        self._before = (monotonic(), 0, 0)
        self._figures: dict[str, float] = {}

    def start(self) -> None:
        """Take the first sample before the server listens, so that the first request finds one."""
        psutil.cpu_percent()
        self._before = (monotonic(), *_bytes_moved())
        self._sample()
        super().start()

    def latest(self) -> dict[str, float]:
        """The latest figures, with the two that cost nothing as they are now."""
        return {
            **self._figures,
            "staging_thread_count": self._staging_count(),
            "apache_client_count": self._client_count(),
        }

    def _sample(self) -> None:
        moment, disk, network = monotonic(), *_bytes_moved()
        seconds = max(moment - self._before[0], 0.001)
        self._figures = {
            "free_disk": psutil.disk_usage(str(self._static_dir)).free / _GIB,
            "cpu_percent": psutil.cpu_percent(),
            "disk_total_bytes_per_second": (disk - self._before[1]) / seconds,
            "network_total_bytes_per_second": (network - self._before[2]) / seconds,
        }
        self._before = (moment, disk, network)


def _bytes_moved() -> tuple[int, int]:
    """Bytes read and written by the disks, and sent and received by the network, since the machine started."""
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return (
        disk.read_bytes + disk.write_bytes if disk else 0,
        network.bytes_sent + network.bytes_recv if network else 0,
    )
