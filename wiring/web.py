"""Everything that answers requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cherrypy

from staging.errors import ConfigurationError
from staging.holds import BuildHolds
from web import application, rendering
from web.access.gate import Gate
from web.access.hosts import HostCheck, KnownHosts
from web.access.refused_names import RefusedNames
from web.access.tokens import TokenFile
from web.answers import Served
from web.api.application import Api
from web.api.events import EventStreams
from web.api.operations import Handlers
from web.health import HealthSampler, Load
from web.http import server
from web.http.clients import WaitingRoom
from web.metrics.counters import Metrics
from web.metrics.gauges import Sources
from web.metrics.page import MetricsPage
from web.plugins import BEFORE_THE_SERVER
from web.site.pages import Pages
from wiring.checks import allowed_hosts, stackwalker
from wiring.files import Files, access_log
from wiring.reloading import Part, Reload
from wiring.staging import Staging


def mount_web(
    options: dict[str, Any],
    static_dir: Path,
    version: str,
    staging: Staging,
    metrics: Metrics,
    files: Files,
    bus: Any,
    reload: Reload,
) -> None:
    """Put everything that answers requests into CherryPy's tree."""
    downloader = staging.downloader
    waiting_room = WaitingRoom(options["max_threads"])
    holds = BuildHolds(static_dir, downloader.build)
    health = _health(static_dir, staging, waiting_room, bus)
    tokens = _tokens(options)
    refused_names = RefusedNames(lambda text: cherrypy.log(text, "DEVSERVER"))
    pages = Pages(downloader, holds, staging.catalogue, files.readers, str(static_dir), refused_names.latest)
    metrics_page = MetricsPage(metrics.registry, _sources(static_dir, version, staging, waiting_room))
    walker = stackwalker(options)
    root = application.Root(downloader, health, waiting_room, static_dir, pages, metrics_page, tokens, walker)
    handlers = Handlers(downloader, holds, staging.catalogue, health, version)
    api = Api(handlers, _streams(staging, bus), waiting_room, version)
    application.mount(root, api, files.application, files.objects, metrics.serving.count_request)
    if tokens is not None:
        _put_a_gate_in_front(options, tokens, metrics)
        reload.add(Part("the tokens", tokens.read_anew))
    certificate = server.certificate_reader()
    if certificate is not None:
        reload.add(Part("the certificate", certificate))
    if not options["require_token_to_read"]:  # else no page of another site has one
        _check_names_in_front(options, refused_names, metrics)


def _streams(staging: Staging, bus: Any) -> EventStreams:
    """The streams of what happens to builds, which end before the server waits for its threads."""
    downloader = staging.downloader
    streams = EventStreams(downloader.build, downloader.is_under_way, downloader.builds_under_way)
    staging.board.subscribe(streams.listen, of_others=True)
    staging.board.subscribe_to_removals(streams.listen_to_removals)
    bus.subscribe("stop", streams.close, priority=BEFORE_THE_SERVER)
    return streams


def _health(static_dir: Path, staging: Staging, waiting_room: WaitingRoom, bus: Any) -> HealthSampler:
    """What knows how the server is doing, and what it has taken on."""
    downloads, executor = staging.downloader.downloads, staging.executor

    def load() -> Load:
        return Load(
            queued_downloads=downloads.queue_length,
            waiting_clients=waiting_room.taken,
            free_seats=waiting_room.free,
            is_overloaded=downloads.is_congested or not waiting_room.free or server.is_crowded(),
        )

    counts = (lambda: downloads.active_count, server.clients_being_served)
    health = HealthSampler(bus, static_dir, *counts, load, lambda: executor.figures)
    health.subscribe()
    return health


def _sources(static_dir: Path, version: str, staging: Staging, waiting_room: WaitingRoom) -> Sources:
    """Where the metrics' gauges come from."""
    downloader, executor = staging.downloader, staging.executor
    return Sources(
        version=version,
        static_dir=static_dir,
        builds=downloader.list.soon,
        waiting=lambda: waiting_room.taken,
        busy_threads=server.clients_being_served,
        idle_threads=server.idle_threads,
        queue_lengths=lambda: downloader.downloads.queue_lengths,
        downloads=lambda: downloader.downloads.active_count,
        workers=lambda: executor.worker_count,
    )


def _tokens(options: dict[str, Any]) -> TokenFile | None:
    """The tokens that changing something takes; None where it takes none."""
    if options["tokens"] is None:
        if options["require_token_to_read"]:
            raise ConfigurationError("--require-token-to-read", "it goes with --tokens, which says which there are")
        return None
    rendering.offer_login()
    return TokenFile(options["tokens"], lambda text: cherrypy.log(text, "DEVSERVER"))


def _put_a_gate_in_front(options: dict[str, Any], tokens: TokenFile, metrics: Metrics) -> None:
    """Let nobody read who may not, and tell the rest of the server whose token came with a request."""
    reads_freely, on_refusal = not options["require_token_to_read"], _teller(options, metrics)
    server.put_in_front(lambda whole: Gate(whole, tokens, reads_freely, on_refusal))


def _check_names_in_front(options: dict[str, Any], refused_names: RefusedNames, metrics: Metrics) -> None:
    """Serve browsers under the server's own names alone."""
    hosts = KnownHosts([*allowed_hosts(options["allow_host"]), options["host"].lower()])
    hosts.learn_full_name()
    on_refusal = _teller(options, metrics)
    server.put_in_front(lambda whole: HostCheck(whole, hosts, refused_names, on_refusal))


def _teller(options: dict[str, Any], metrics: Metrics) -> Callable[[Served], None]:
    """What is told of answers that are given before any application is asked."""
    log = access_log(options)

    def on_refusal(answer: Served) -> None:
        log.ends(answer, 0 if answer.environ["REQUEST_METHOD"] == "HEAD" else answer.size)
        metrics.serving.count_request("refused", answer.status)

    return on_refusal
