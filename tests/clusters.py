"""Workers of a cluster for the tests, as an operator starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.servers import PROJECT


class Worker:
    """One `devserver worker`, with the processes that it runs its jobs in."""

    def __init__(
        self, directory: Path, broker: str, environment: Mapping[str, str], *options: str, name: str, at_once: int = 6
    ) -> None:
        """The static directory lies in ``directory``, and so does its log."""
        self.log_file = directory / f"{name}.log"
        command = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(directory / "static")]
        command += ["--broker", broker, "--stall-timeout", "5", "--retry-deadline", "10", *options, "worker"]
        command += ["--at-once", str(at_once)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
            )

    def jobs(self) -> list[psutil.Process]:
        """The processes of the jobs that it runs: children of the fork server, which is a child of its own."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [job for child in children for job in child.children() if job.status() != "zombie"]
        except psutil.NoSuchProcess:
            return []

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it started, as if something befell its machine."""
        me = psutil.Process(self.process.pid)
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # a job may end at any moment
                process.send_signal(number)

    def close(self) -> None:
        """End it, if it runs."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.signal_all(signal.SIGKILL)
            self.process.wait()
            raise
