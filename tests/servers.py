"""Real devservers for the tests: started as a user starts them, and asked over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import psutil
import requests

PROJECT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


def eventually(question: Callable[[], T], timeout: float = 20.0) -> T:
    """What ``question`` answers, once that is true."""
    deadline = time.monotonic() + timeout
    while not (answer := question()):
        assert time.monotonic() < deadline, f"it did not come true within {timeout} s"
        time.sleep(0.01)
    return answer


# The kind of nginx that stands before every devserver of the tests: "nginx", of one; "spread", of several; or none.
FRONT = "TESTED_FRONT"


class Front:
    """An nginx before a devserver, which is made when that listens."""

    def __init__(self, kind: str, run_dir: Path, more: Sequence[str]) -> None:
        """``more`` are the devserver's own options."""
        self._kind = kind
        self._run_dir = run_dir
        self._more = more
        self._running = ExitStack()
        self._ports: dict[int, int] = {}

    @property
    def options(self) -> list[str]:
        """What the devserver has to know of it."""
        log = ["--front-log", str(self._run_dir / "use.log")]
        return ["--front", "nginx", *log] if self._kind == "nginx" else ["--trusted-proxy", "127.0.0.1"]

    def port_before(self, port: int, static_dir: Path) -> int:
        """The port of the nginx before the devserver that listens on ``port``."""
        if port not in self._ports:
            from tests import nginx  # which starts servers itself

            start = nginx.before if self._kind == "nginx" else nginx.spread_before
            self._ports[port] = self._running.enter_context(start(port, static_dir, self._run_dir, *self._more))
        return self._ports[port]

    def close(self) -> None:
        """End it."""
        self._running.close()
        self._ports.clear()


def front_of(directory: Path, name: str, options: Sequence[str]) -> Front | None:
    """What stands before a devserver that has these options; None where nothing does."""
    kind = os.environ.get(FRONT, "")
    return Front(kind, directory / f"{name}-front", options) if kind else None


class DevServer:
    """One devserver process on a port of its own.

    Where tests run with ``--front``, an nginx stands before it, and that is who is asked.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        name: str = "devserver",
        wrapper: Sequence[str] = (),
    ) -> None:
        """Its static directory, port file and log lie in ``directory``; more ``options`` go onto its command line, and
        ``wrapper`` is the command that runs it, if any.
        """
        self.static_dir = directory / "static"
        self.log_file = directory / f"{name}.log"
        self._portfile = directory / f"{name}.port"
        self._portfile.unlink(missing_ok=True)
        self.command = [
            *wrapper,
            sys.executable,
            str(PROJECT / "devserver.py"),
            "--port",
            "0",
            "--portfile",
            str(self._portfile),
        ]
        self.command += [
            "--static_dir",
            str(self.static_dir),
            "--stall-timeout",
            "5",
            "--retry-deadline",
            "3",
            *options,
            # Coverage's own files, where that is measured.
            *(("--worker-writes", str(PROJECT)) if "COVERAGE_PROCESS_CONFIG" in os.environ else ()),
        ]
        self._environment = {**os.environ, **(environment or {})}
        self._scheme = "https" if "--tls-cert" in options else "http"
        self._front = None if {"--tls-cert", "--front"}.intersection(options) else front_of(directory, name, options)
        self.command += self._front.options if self._front else []
        self._pool = ThreadPoolExecutor(200)
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=self._environment, start_new_session=True)

    @property
    def port(self) -> int:
        """The port at which it is asked, once it listens."""
        return self._front.port_before(self.own_port, self.static_dir) if self._front else self.own_port

    @property
    def own_port(self) -> int:
        """The port that it listens on itself, once it does."""

        def written() -> str:
            assert self.process.poll() is None, f"the devserver ended:\n{self.log}"
            return self._portfile.read_text() if self._portfile.exists() else ""

        return int(eventually(written))

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it logged so far."""
        return self.log_file.read_text()

    def get(self, path: str, **query: str) -> requests.Response:
        """The answer to a GET."""
        return requests.get(f"{self.url}{path}", params=query, timeout=60)

    def ask(self, path: str, **query: str) -> Future[requests.Response]:
        """The answer to a GET, some time."""
        return self._pool.submit(self.get, path, **query)

    def download(self, archive_url: str, **query: str) -> requests.Response:
        """The answer of ``/download``."""
        return self.get("/download", archive_url=archive_url, **query)

    def wait_for_status(self, archive_url: str, **query: str) -> requests.Response:
        """The answer of ``/wait_for_status``."""
        return self.get("/wait_for_status", archive_url=archive_url, **query)

    def stage(self, archive_url: str) -> None:
        """Stage a build wholly."""
        check_success(self.download(archive_url))
        check_success(self.wait_for_status(archive_url))

    def worker(self) -> psutil.Process:
        """The worker process that is running, once one is."""
        return eventually(self.workers)[0]

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are running: children of the fork server, which is a child of the devserver."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [worker for child in children for worker in child.children() if worker.status() != "zombie"]
        except psutil.NoSuchProcess:
            return []

    def processes(self) -> list[psutil.Process]:
        """The devserver and all that it started."""
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """Start it anew, after it ended."""
        self._portfile.unlink(missing_ok=True)
        if self._front:
            self._front.close()
        self.process = self._started()

    def stop(self, timeout: float = 10.0) -> int:
        """End it as an operator would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End it if it runs, and let go of everything."""
        if self._front:
            self._front.close()
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self._pool.shutdown(wait=False, cancel_futures=True)


def check_success(answer: requests.Response) -> None:
    """Assert that an RPC answered exactly as harnesses want it."""
    assert answer.status_code == 200, cause_of(answer)
    assert answer.text == "Success"


def cause_of(answer: requests.Response) -> str:
    """The cause on an error page, read as harnesses read it: the last line of the ``<pre>``."""
    before, end, _ = answer.text.partition("\n</pre>")
    assert end, answer.text
    return before.rpartition("\n")[2]
