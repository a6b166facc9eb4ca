"""Standard input, output and error, where one of them is closed or cannot be written."""

from __future__ import annotations

import io
import os
import sys

from commands.printing import printable

_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}
_closed: set[int] = set()


def open_all() -> None:
    """Have the descriptors 0 to 2 be open, so that no socket and no file becomes one of them.

    What is written to one that was closed fails, as before: /dev/null is open for reading there.
    """
    for number, name in _STREAMS.items():
        if not _is_open(number):
            os.dup2(os.open(os.devnull, os.O_RDONLY), number)  # which is this number, where the lower ones are open
            _closed.add(number)
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
            stream = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(stream, "utf-8", "backslashreplace", line_buffering=True))


def silence_closed() -> None:
    """Have what is written to a stream that was closed go nowhere, for a server that has its log elsewhere."""
    for number in _closed - {0}:
        _lead_nowhere(number)


def complain(text: str) -> None:
    """Say what went wrong, in one line on standard error and nowhere else; nothing, where that cannot be written."""
    try:
        sys.stderr.write(f"devserver: {printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        _lead_nowhere(2)  # for what is left of it, or the interpreter would end with a status of its own


def give_up_output() -> None:
    """Have what is left of the standard output, which cannot be written, go nowhere."""
    _lead_nowhere(1)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
