"""Another commit, checked out beside this one for as long as it is measured."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.checkout import THIS, Checkout
from bench.processes import PROJECT
from bench.samples import BenchError

_LOCK = "requirements.lock"
_MADE_OF = ("setup.py", "pyproject.toml", _LOCK)
_PIN = re.compile(r"^[A-Za-z0-9][^\s;\\]*==[^\\\n]+", re.MULTILINE)
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


@contextmanager
def checked_out(revision: str, data: Path) -> Iterator[Checkout]:
    """The commit ``revision`` in a worktree below ``data``, with an environment that stays there for the next time."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        raise BenchError(f"there is no commit {revision}")
    directory = data / f"against-{commit[:12]}"
    _remove(directory)  # of a run that was killed
    _git("worktree", "add", "--force", "--detach", str(directory), commit)
    try:
        if not (directory / "devserver.py").exists():
            raise BenchError(f"{revision} could not be checked out, or has no devserver.py")
        yield Checkout("other", directory, _python(directory, data / "environments"))
    finally:
        _remove(directory)


def _python(directory: Path, environments: Path) -> Path:
    """The interpreter of an environment with what the commit needs; this one's where both need the same."""
    if _made_of(directory) == _made_of(PROJECT):
        return THIS.python
    environment = environments / hashlib.sha256(_made_of(directory)).hexdigest()[:16]
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        click.echo(f"Setting up an environment for {directory.name}")
        _run([sys.executable, "-m", "venv", "--clear", str(environment)])
        _run([str(python), *_PIP, *_requirements(directory, environment)])
        (environment / "ready").touch()
    return python


def _requirements(directory: Path, environment: Path) -> list[str]:
    """What pip is to install: the commit's lock file; where it has none, what it asks for, in the versions of ours."""
    if (directory / _LOCK).exists():
        return ["--require-hashes", "--only-binary=:all:", f"--requirement={directory / _LOCK}"]
    pins = environment / "pins.txt"
    pins.write_text("\n".join(_PIN.findall((PROJECT / _LOCK).read_text())))
    return [f"--constraint={pins}", str(directory)]


def _made_of(directory: Path) -> bytes:
    files = [directory / name for name in _MADE_OF]
    return b"\0".join(file.read_bytes() if file.exists() else b"" for file in files)


def _remove(directory: Path) -> None:
    _git("worktree", "remove", "--force", "--force", str(directory))
    _git("worktree", "prune")


def _git(*arguments: str) -> str:
    """What git answers; nothing where it fails."""
    command = ["git", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - words made here
    if ended.returncode:
        raise BenchError(f"{' '.join(command)} ended with status {ended.returncode}:\n{ended.stderr[-2000:]}")
