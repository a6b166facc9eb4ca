"""Which devserver is measured: the one of this directory, or that of another commit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import PROJECT, Command


@dataclass(frozen=True)
class Checkout:
    """A commit's files, and an environment with what they need.

    Attributes:
        name: what files of it are called by.
        root: the directory with ``devserver.py``.
        python: the environment's interpreter.

    """

    name: str
    root: Path
    python: Path

    def command(self, *arguments: str) -> Command:
        """Python in the checkout's directory, which is where it looks for modules first."""
        return ["env", f"--chdir={self.root}", str(self.python), *arguments]


THIS = Checkout("this", PROJECT, Path(sys.executable))
