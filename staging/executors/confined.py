"""Runs a program within a worker's bounds, for it reads what strangers wrote: a process of its own, that becomes it."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from staging.executors import confinement, reach

# What is imported is what this process imports, wherever the program is run.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from staging.executors.confined import main; main(sys.argv[1:])"
)


def command(program: str, arguments: Sequence[str], scratch: Path, readable: Sequence[Path], seconds: int) -> list[str]:
    """The command that runs a program so that it may write to ``scratch``, and read that and what is ``readable``.

    It may use a processor for so many seconds.
    """
    files = {"writable": [str(scratch)], "readable": [str(path.resolve()) for path in readable]}
    path = [str(Path(entry or ".").absolute()) for entry in sys.path]
    bounds = json.dumps({**files, "seconds": seconds, "path": path})
    return [sys.executable, "-I", "-c", _START, bounds, program, *arguments]


def main(arguments: Sequence[str]) -> None:
    """Become the program."""
    text, *command_line = arguments
    bounds = json.loads(text)
    resource.setrlimit(resource.RLIMIT_CPU, (bounds["seconds"], bounds["seconds"]))
    program = Path(command_line[0]).resolve()
    confinement.prepare()  # while files may be written still
    confinement.Confinement(
        writable=tuple(bounds["writable"]),
        readable=tuple(bounds["readable"]),
        runnable=(*reach.runnable(), str(program)),
        ports=(),
        largest_file=1,  # byte: what it has to say goes down a pipe
    ).apply()
    os.execv(program, [program.name, *command_line[1:]])  # noqa: S606 - the operator names it
