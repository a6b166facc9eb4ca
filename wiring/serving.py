"""A devserver that serves until a signal says to stop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cherrypy
from cherrypy.process.plugins import PIDFile

from staging.executors.confinement import tighten_umask
from staging.executors.orphans import adopt_orphans
from web import memory
from web.bus_log import speak_plainly
from web.front.use_log import UseLog
from web.http import server
from web.logs import configure_logs, reopened_logs
from web.metrics.counters import Metrics
from web.plugins import ConnectionsPlugin, DownloadsPlugin, EvictorPlugin, PortFile
from web.verification import VerificationPlugin
from web.watchdog import Notifier, WatchdogPlugin
from wiring.checks import certificate, checked_static_dir, own_address, trusted_proxies
from wiring.executors import keep_in_touch, say_what_holds
from wiring.files import Files, front_listener, make_files
from wiring.reloading import Part, Reload
from wiring.signals import Signals
from wiring.staging import Staging, catalogue_part, make_staging
from wiring.web import mount_web

LOGS = Part("the files of the logs", reopened_logs)


def serve(options: dict[str, Any], version: str, signals: Signals) -> None:
    """Serve until a signal says to stop; ``options`` has a value for every setting.

    Raises:
        ConfigurationError: an option's value cannot be used.

    """
    tighten_umask()
    adopt_orphans()
    memory.keep_together()
    static_dir = checked_static_dir(options)
    bus = cherrypy.engine
    speak_plainly(bus)
    configure_logs(options["logfile"], options["log_dir"], options["production"], options["log_format"])
    server.configure(own_address(options["host"]), options["port"], options["max_threads"], certificate(options))
    server.trust_proxies(trusted_proxies(options))
    metrics = Metrics()
    server.tell_refusals(lambda status: metrics.serving.count_request("refused", status))
    files = make_files(options, static_dir, metrics, bus)
    staging = make_staging(options, static_dir, metrics, files)
    reload = Reload(lambda text: cherrypy.log(text, "DEVSERVER"))
    reload.add(catalogue_part(options, staging.catalogue))
    mount_web(options, static_dir, version, staging, metrics, files, bus, reload)
    reload.add(LOGS)
    _subscribe_plugins(options, static_dir, staging, metrics, files, bus)
    _answer_signals(bus, signals, reload)
    cherrypy.log(f"devserver {version}, staging to and serving {static_dir}", "DEVSERVER")
    say_what_holds()
    if signals.is_end_asked_for:
        return
    bus.start()
    bus.block()


def _subscribe_plugins(
    options: dict[str, Any], static_dir: Path, staging: Staging, metrics: Metrics, files: Files, bus: Any
) -> None:
    """Have everything else start and stop with the server."""
    DownloadsPlugin(bus, staging.downloader, staging.executor, options["resume"]).subscribe()
    keep_in_touch(bus, options, static_dir, staging.board, staging.downloader.take_over)
    EvictorPlugin(bus, staging.room).subscribe()
    memory.MemoryPlugin(bus).subscribe()
    if options["verify_every"]:

        def on_verified(_build_path: str, count: int, size: int, wrong: int) -> None:
            metrics.keeping.count_verified(count, size, wrong)

        VerificationPlugin(bus, static_dir, options["verify_every"], staging.board.note, on_verified).subscribe()
    ConnectionsPlugin(bus, server.busy_connections).subscribe()
    if options["front"]:
        listener = front_listener(metrics, files.ledger)
        UseLog(bus, options["front_log"], files.application.note_use, listener).subscribe()
    WatchdogPlugin(bus, Notifier(os.environ), server.bound_address, options["tls_cert"] is not None).subscribe()
    if options["portfile"]:
        PortFile(bus, options["portfile"], server.bound_port).subscribe()
    if options["pidfile"]:
        PIDFile(bus, str(options["pidfile"])).subscribe()


def _answer_signals(bus: Any, signals: Signals, reload: Reload) -> None:
    """Have signals answered between two beats of the bus, in the main thread, once it has started."""

    def end(name: str) -> None:
        bus.log(f"{name} was received")
        bus.exit()

    def reopen_logs() -> None:
        logs_alone = Reload(lambda text: cherrypy.log(text, "DEVSERVER"))
        logs_alone.add(LOGS)
        logs_alone()

    bus.subscribe("main", lambda: signals.answer(end, reload, reopen_logs))
