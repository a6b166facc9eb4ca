"""A real nginx over a directory, without configuration of the machine's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers import PROJECT, DevServer, eventually

_CONFIGURATION = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias {directory}/; }}
    }}
}}
"""

# The workers of an nginx that root starts are somebody else, who cannot look into a directory of root's.
_USER = "user root;" if os.geteuid() == 0 else ""


@contextmanager
def nginx(folder: Path, directory: Path) -> Iterator[str]:
    """The address of an nginx that serves ``directory`` as /static, and keeps its own files in ``folder``."""
    port = free_port()
    configuration = _CONFIGURATION.format(user=_USER, folder=folder, directory=directory, port=port)
    with running_nginx(folder, configuration, port) as address:
        yield address


@contextmanager
def running_nginx(folder: Path, configuration: str, port: int) -> Iterator[str]:
    """The address of an nginx that listens on ``port``, as its configuration has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nginx.conf"
    file.write_text(configuration)
    command = ["nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: is_listening(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def in_front_of(server: DevServer, run_dir: Path, *more: str) -> Iterator[str]:
    """The address of an nginx in front of ``server``, as the command line sets it up; ``more`` are the server's own
    options.
    """
    with before(server.own_port, server.static_dir, run_dir, *more) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def before(devserver: int, static_dir: Path, run_dir: Path, *more: str) -> Iterator[int]:
    """The port of an nginx before the devserver at a port of this machine's."""
    port = free_port()
    options = ["--port", str(devserver), "--static-dir", str(static_dir), *more]
    with running_nginx(run_dir, written(options, f"127.0.0.1:{port}", run_dir), port):
        yield port


@contextmanager
def spread_before(devserver: int, static_dir: Path, run_dir: Path, *more: str) -> Iterator[int]:
    """The same of an nginx that would share out builds, to this devserver alone."""
    del static_dir
    port = free_port()
    text = written(more, f"127.0.0.1:{port}", run_dir, "--upstream", f"127.0.0.1:{devserver}")
    with running_nginx(run_dir, text, port):
        yield port


def written(options: Sequence[str], listen: str, run_dir: Path, *more: str) -> str:
    """The configuration that the command line prints; ``options`` are the devserver's own, ``more`` the command's."""
    command = [sys.executable, str(PROJECT / "devserver.py"), *options, "nginx-config"]
    command += ["--listen", listen, "--run-dir", str(run_dir), *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether anybody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
