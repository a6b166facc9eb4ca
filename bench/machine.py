"""The machine and the programs that were measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from bench.fetching.peers import GSUTIL_PYTHON

_GIBIBYTE = 1024**3
_GSUTIL_VERSION = "from importlib.metadata import version; print(version('gsutil'))"
_PROGRAMS: dict[str, Sequence[str]] = {
    "curl": ["curl", "--version"],
    "rclone": ["rclone", "version"],
    "gsutil": [str(GSUTIL_PYTHON), "-c", _GSUTIL_VERSION],
    "lbzip2": ["lbzip2", "--version"],
    "pbzip2": ["pbzip2", "--version"],
    "tar": ["tar", "--version"],
    "nginx": ["nginx", "-v"],
    "wrk": ["wrk", "-v"],
}


def describe(directory: Path) -> dict[str, str]:
    """What there is to know of where this ran; ``directory`` is where files were written."""
    return {
        "processor": f"{os.cpu_count()} cores, {_processor()}",
        "memory": f"{psutil.virtual_memory().total / _GIBIBYTE:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "Python": platform.python_version(),
        "google-cloud-storage": version("google-cloud-storage"),
        "CherryPy": version("cherrypy"),
        **{name: _first_line(command) for name, command in _PROGRAMS.items()},
    }


def load() -> str:
    """How busy the machine is, with this and with everything else."""
    return ", ".join(f"{number:.1f}" for number in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def _file_system(directory: Path) -> str:
    """The type of the file system that ``directory`` is on: that of the longest mount point above it."""
    above = [one for one in psutil.disk_partitions(all=True) if directory.is_relative_to(one.mountpoint)]
    return max(above, key=lambda one: len(one.mountpoint)).fstype if above else "unknown"


def _first_line(command: Sequence[str]) -> str:
    if not shutil.which(command[0]):
        return "not installed"
    done = subprocess.run(  # noqa: S603 - one of the commands above
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode(errors="replace").strip().partition("\n")[0]
