"""The page that Prometheus reads."""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from web.metrics.gauges import Gauges, Sources


class MetricsPage:
    """All metrics of one server, with those of its process."""

    def __init__(self, registry: CollectorRegistry, sources: Sources) -> None:
        # A series more for each counter, which says what the process' start says too.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        registry.register(Gauges(sources))
        self._registry = registry

    def answer(self, accept: str) -> tuple[str, bytes]:
        """The content type and the page for who sent this Accept header."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)
