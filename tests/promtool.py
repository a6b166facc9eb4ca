"""promtool: what reads metrics, alerts and their tests as Prometheus does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def promtool(*arguments: str, given: str = "", cwd: Path | None = None) -> str:
    """What promtool says; asserts that it finds nothing wrong."""
    beside_python = Path(sys.executable).with_name("promtool")
    program = str(beside_python) if beside_python.exists() else shutil.which("promtool")
    assert program, "promtool is not there; `make test` gets it"
    checked = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, timeout=60, cwd=cwd)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    return said
