"""The panels of the dashboard, and the whole of it as Grafana imports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3


class _Panel(NamedTuple):
    """One graph: what it is called, its unit in Grafana's words, and its lines, each with its legend."""

    title: str
    unit: str
    lines: Sequence[tuple[str, str]]


def _quantiles(metric: str) -> list[tuple[str, str]]:
    rate = f"sum by (le) (rate({metric}_bucket{{{_WHERE}}}[$__rate_interval]))"
    return [(f"histogram_quantile({share}, {rate})", legend) for share, legend in ((0.5, "half"), (0.95, "95 of 100"))]


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_WHERE}{where}}}[$__rate_interval]))"


_WHERE = 'instance=~"$instance"'
_PANELS = (
    _Panel(
        "Downloads that ended, an hour",
        "short",
        [(f"sum by (outcome) (increase(devserver_downloads_total{{{_WHERE}}}[1h]))", "{{outcome}}")],
    ),
    _Panel("Time to the first answer", "s", _quantiles("devserver_first_answer_seconds")),
    _Panel("Time to all staged", "s", _quantiles("devserver_all_staged_seconds")),
    _Panel(
        "Bytes",
        "Bps",
        [
            (f"sum(rate(devserver_archive_read_bytes_total{{{_WHERE}}}[$__rate_interval]))", "from the archive"),
            (_rate("devserver_static_sent_bytes_total", "sender"), "to clients, by {{sender}}"),
        ],
    ),
    _Panel("Answers by status", "reqps", [(_rate("devserver_requests_total", "status"), "{{status}}")]),
    _Panel(
        "Answers of 500 and more, by RPC",
        "reqps",
        [(_rate("devserver_requests_total", "rpc", ', status=~"5.."'), "{{rpc}}")],
    ),
    _Panel(
        "Failures, by cause, an hour",
        "short",
        [(f"sum by (cause) (increase(devserver_download_failures_total{{{_WHERE}}}[1h]))", "{{cause}}")],
    ),
    _Panel(
        "Tried again, and wrong checksums, an hour",
        "short",
        [
            (f"sum by (cause) (increase(devserver_retries_total{{{_WHERE}}}[1h]))", "again after {{cause}}"),
            (f"sum(increase(devserver_checksum_failures_total{{{_WHERE}}}[1h]))", "wrong checksums"),
        ],
    ),
    _Panel(
        "Under way",
        "short",
        [
            (f"sum(devserver_downloads_under_way{{{_WHERE}}})", "downloads"),
            (f"sum by (work) (devserver_queued_downloads{{{_WHERE}}})", "queued, {{work}}"),
            (f"sum(devserver_workers{{{_WHERE}}})", "workers"),
        ],
    ),
    _Panel(
        "Clients that wait, and threads",
        "short",
        [
            (f"sum(devserver_waiting_clients{{{_WHERE}}})", "waiting"),
            (f"sum by (state) (devserver_server_threads{{{_WHERE}}})", "{{state}} threads"),
        ],
    ),
    _Panel(
        "The disk",
        "bytes",
        [
            (f"devserver_disk_size_bytes{{{_WHERE}}}", "size"),
            (f"devserver_disk_free_bytes{{{_WHERE}}}", "free"),
            (f"devserver_builds_bytes{{{_WHERE}}}", "builds"),
        ],
    ),
    _Panel("Builds", "short", [(f"sum by (state) (devserver_builds{{{_WHERE}}})", "{{state}}")]),
    _Panel(
        "Removed for room, an hour",
        "bytes",
        [(f"sum by (reason) (increase(devserver_evicted_bytes_total{{{_WHERE}}}[1h]))", "{{reason}}")],
    ),
    _Panel(
        "Verified, an hour",
        "short",
        [
            (f"sum(increase(devserver_verified_files_total{{{_WHERE}}}[1h]))", "files"),
            (f"sum(increase(devserver_verified_wrong_files_total{{{_WHERE}}}[1h]))", "wrong"),
        ],
    ),
    _Panel(
        "The process",
        "short",
        [
            (f"rate(process_cpu_seconds_total{{{_WHERE}}}[$__rate_interval])", "processors"),
            (f"process_open_fds{{{_WHERE}}} / process_max_fds", "share of the files that may be open"),
        ],
    ),
)


def dashboard() -> Json:
    """The dashboard as Grafana imports it."""
    return {
        "title": "Devserver",
        "uid": "devserver",
        "tags": ["devserver"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": [_graph(number, panel) for number, panel in enumerate(_PANELS)],
    }


def _variables() -> Iterator[Json]:
    yield {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    query = "label_values(devserver_build_info, instance)"
    yield {
        "name": "instance",
        "label": "Devserver",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "instance"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _graph(number: int, panel: _Panel) -> Json:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + position), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for position, (expression, legend) in enumerate(panel.lines)
        ],
    }
