"""What is looked at when somebody asks, and never before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from staging.build_list import Builds
from staging.status import State


@dataclass(frozen=True)
class Sources:
    """Where the figures come from; each is asked at every scrape, and answers at once.

    Attributes:
        version: the devserver's.
        static_dir: where the builds lie.
        builds: all of them.
        waiting: clients that wait.
        busy_threads, idle_threads: of the server.
        queue_lengths: downloads that wait for a place, by the kind of work.
        downloads: that are under way.
        workers: processes that stage.

    """

    version: str
    static_dir: Path
    builds: Callable[[], Builds]
    waiting: Callable[[], int]
    busy_threads: Callable[[], int]
    idle_threads: Callable[[], int]
    queue_lengths: Callable[[], Mapping[str, int]]
    downloads: Callable[[], int]
    workers: Callable[[], int]


class Gauges(Collector):
    """See prometheus_client's ``Collector``."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """No metric: asking for the figures to learn their names would be to ask before the server listens."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        sources = self._sources
        yield _labelled("devserver_build_info", "The devserver that runs.", "version", {sources.version: 1})
        yield GaugeMetricFamily("devserver_waiting_clients", "Clients that wait for something.", sources.waiting())
        threads = {"busy": sources.busy_threads(), "idle": sources.idle_threads()}
        yield _labelled("devserver_server_threads", "Threads that answer requests.", "state", threads)
        lengths = sources.queue_lengths()
        yield _labelled("devserver_queued_downloads", "Downloads that wait for their turn.", "work", lengths)
        yield GaugeMetricFamily("devserver_downloads_under_way", "Downloads that are not over.", sources.downloads())
        yield GaugeMetricFamily("devserver_workers", "Worker processes.", sources.workers())
        yield from self._of_builds()
        yield from self._of_the_disk()

    def _of_builds(self) -> Iterable[Metric]:
        builds = self._sources.builds()
        if not builds.is_whole:
            return  # no figure says more than a wrong one
        counts = {state.value: builds.states.get(state, 0) for state in State}
        yield _labelled("devserver_builds", "Builds on this server, by their state.", "state", counts)
        yield GaugeMetricFamily("devserver_builds_bytes", "Bytes of the files that are staged of builds.", builds.size)

    def _of_the_disk(self) -> Iterable[Metric]:
        disk = psutil.disk_usage(str(self._sources.static_dir))
        yield GaugeMetricFamily("devserver_disk_size_bytes", "Size of the builds' file system.", disk.total)
        yield GaugeMetricFamily("devserver_disk_free_bytes", "What of it is free to the devserver.", disk.free)


def _labelled(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, figure in values.items():
        family.add_metric([value], figure)
    return family
