"""wrk: clients who ask again and again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.processes import run
from bench.samples import BenchError, LoadSample

_SCRIPT = Path(__file__).with_suffix(".lua")
_PATIENCE = "120s"  # that a request may take
_THREADS = 2  # of wrk, at most


def load(
    address: str, paths: Sequence[str], clients: int, seconds: int, log: Path, part: int = 0, size: int = 0
) -> LoadSample:
    """Have ``clients`` ask ``address`` for ``paths`` in turn, for so long.

    Args:
        address: of the server, ``http://host:port``.
        paths: of the files.
        clients: how many connections, each with one request at a time.
        seconds: for how long: wrk takes whole ones.
        log: where wrk's words go.
        part: bytes that a request asks for, anywhere in the one file; 0 for whole files.
        size: of that file.

    Raises:
        BenchError: a request failed.

    """
    threads = str(min(clients, _THREADS))
    command = ["wrk", f"--threads={threads}", f"--connections={clients}", f"--duration={seconds}s"]
    command += [f"--timeout={_PATIENCE}", f"--script={_SCRIPT}", address, "--", str(part), str(size), *paths]
    run(command, log)
    told = json.loads(log.read_text().splitlines()[-1])
    if told["errors"]:
        raise BenchError(f"{told['errors']} of {told['requests']} requests to {address}{paths[0]} failed")
    return LoadSample(told["bytes"] / told["seconds"], told["requests"] / told["seconds"], told["median"], told["p99"])
