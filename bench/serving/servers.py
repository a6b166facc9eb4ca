"""Servers of one directory, each at an address of its own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from bench.checkout import Checkout
from bench.devservers import fresh_devserver
from bench.processes import Command, run, server, started
from bench.samples import BenchError

_TIME_TO_START = 10.0  # seconds
_NO_ARCHIVE = "http://127.0.0.1:9"  # nothing is staged from it

# As Debian's own configuration has it, without the log.
_PLAIN_NGINX = """\
{user}
worker_processes auto;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias {static_dir}/; }}
    }}
}}
"""


@contextmanager
def by_devserver(checkout: Checkout, static_dir: Path, directory: Path) -> Iterator[str]:
    """A devserver; its address."""
    with fresh_devserver(_NO_ARCHIVE, static_dir, directory, checkout=checkout) as one:
        yield one.address


@contextmanager
def by_nginx(static_dir: Path, directory: Path) -> Iterator[str]:
    """An nginx alone; its address."""
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = _PLAIN_NGINX.format(static_dir=static_dir, port=port, user=user)
    with _nginx(configuration, directory / "nginx", port) as address:
        yield address


@contextmanager
def by_front(checkout: Checkout, static_dir: Path, directory: Path) -> Iterator[str]:
    """An nginx in front of a devserver, as ``devserver nginx-config`` has it; nginx's address."""
    port, run_dir, log = _free_port(), directory / "nginx", directory / "configuration"
    options = ["--front=nginx", f"--front-log={run_dir}/use.log"]
    run_dir.mkdir()
    with fresh_devserver(_NO_ARCHIVE, static_dir, directory, *options, checkout=checkout) as one:
        devserver = ["devserver.py", f"--static-dir={static_dir}", f"--port={one.port}", "--host=127.0.0.1"]
        printing = ["nginx-config", f"--listen=127.0.0.1:{port}", f"--run-dir={run_dir}"]
        run(checkout.command(*devserver, *printing), log)
        with _nginx(log.read_text(), run_dir, port) as address:
            yield address


@contextmanager
def by_staticdir(static_dir: Path, directory: Path) -> Iterator[str]:
    """A bare CherryPy with its ``staticdir``; its address."""
    portfile, log = directory / "cherrypy.port", directory / "cherrypy.log"
    command = [sys.executable, "-m", "bench.serving.plain_cherrypy", str(static_dir), str(portfile)]
    with server(command, portfile, log) as (_, port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _nginx(configuration: str, run_dir: Path, port: int) -> Iterator[str]:
    run_dir.mkdir(exist_ok=True)
    file, log = run_dir / "nginx.conf", run_dir / "said"
    file.write_text(configuration)
    command: Command = ["nginx", "-e", "error.log", "-p", str(run_dir), "-c", str(file), "-g", "daemon off;"]
    with started(command, log):
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"


def _wait_for(port: int) -> None:
    deadline = monotonic() + _TIME_TO_START
    while monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        sleep(0.02)
    raise BenchError(f"nginx does not listen on port {port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
