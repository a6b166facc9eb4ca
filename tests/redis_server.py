"""A real Redis for the tests, on a free port of 127.0.0.1, that keeps nothing on the disk."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import eventually

# In Debian one program is all of Redis' own, and acts by the name that it is called by. Its package of tools has it
# too, and starts no service.
_PROGRAM = "/usr/bin/redis-check-rdb"


class RedisServer:
    """One Redis process; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """Its working directory is ``directory``."""
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process = self._started()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def count_keys(self, pattern: str) -> int:
        """How many keys it has whose names are so."""
        with redis.Redis(port=self.port) as client:
            return sum(1 for _ in client.scan_iter(pattern))

    def kill(self) -> None:
        """End it as a crash would; all that it held is gone."""
        self.process.kill()
        self.process.wait()

    def start_again(self, *options: str) -> None:
        """Start it anew, on the same port, with what it kept on the disk."""
        self.process = self._started(*options)

    def start_slowly(self, seconds: float) -> None:
        """Start it anew: for so long, it reads what it kept and answers LOADING. Returns when that begins."""
        with redis.Redis(port=self.port) as client:
            for number in range(1000):
                client.set(f"filling:{number}", "x" * 200)
            client.save()
        self.kill()
        each = int(seconds * 1000)  # microseconds
        options = ("--key-load-delay", str(each), "--loading-process-events-interval-bytes", "1024")
        self.process = self._started(*options, until=redis.BusyLoadingError)

    def __enter__(self) -> RedisServer:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _started(self, *options: str, until: type[Exception] | None = None) -> subprocess.Popen[bytes]:
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            *options,
        ]
        process = subprocess.Popen(
            command, executable=_PROGRAM, cwd=self._directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

        def answers() -> bool:
            assert process.poll() is None, "Redis ended"
            try:
                with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
                    return bool(client.ping())
            except redis.ConnectionError as error:
                return until is not None and isinstance(error, until)

        eventually(answers)
        return process
