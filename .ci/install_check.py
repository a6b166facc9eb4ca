"""Installs the devserver into clean environments, as labs do, and starts all of it there: `make install-check`.

Nothing, and each extra of setup.py, is installed alone, on the oldest and the newest Python that are to be had, with
the newest packages that its bounds allow and with the oldest. A test environment has everything at once: there, a
package that somebody else brought, or a bound that is not true, goes unseen.
"""

from __future__ import annotations

import argparse
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

_PROJECT = Path(__file__).resolve().parent.parent
_PYTHONS = ("3.10", "3.13")
_NEWEST, _OLDEST = "highest", "lowest-direct"
_OF_OLDEST = ("", "cluster", "demo")  # what labs install; the others are for who works on the devserver
# The extras that bring what a cluster takes, and what the demonstration takes.
_WITH_WORKERS, _WITH_DEMO = ("cluster", "test", "dev"), ("demo", "test", "dev")
_AT_ONCE = 3
_LONGEST = 300.0  # seconds that one program may take
_PATIENCE = 60.0  # seconds until a server listens
# In Debian one program is all of Redis' own, and acts by the name that it is called by.
_REDIS = "/usr/bin/redis-check-rdb"
_BUILD = "gs/target/R17-1.0.0"
# What this process has in its environment is for its own Python, and for its own devserver.
_NOT_PASSED_ON = ("PYTHON", "VIRTUAL_ENV", "DEVSERVER_", "STORAGE_EMULATOR_HOST")
_IS_OURS_ALONE = """
import importlib.metadata, pathlib, sys
files = importlib.metadata.files("devserver") or []
place = pathlib.Path(importlib.metadata.distribution("devserver").locate_file("")).resolve()
import devserver, web, commands, demo, artifacts, wiring, staging, downloader
ours = (devserver, web, commands, demo, artifacts, wiring, staging, downloader)
sys.exit(", ".join(one.__name__ for one in ours if place not in pathlib.Path(one.__file__).resolve().parents) or 0)
"""


class Failed(Exception):
    """Something did not start."""


class Case(NamedTuple):
    """What is installed: one ``extra``, or none, for a ``python``, with the newest or the oldest packages."""

    python: str
    label: str
    extra: str
    resolution: str

    def __str__(self) -> str:
        what = f"[{self.extra}]" if self.extra else "nothing else"
        return f"Python {self.label}, {what}{', oldest packages' if self.resolution == _OLDEST else ''}"


class Environment:
    """A clean environment with the devserver in it, and a directory to run it in."""

    def __init__(self, directory: Path, case: Case, wheel: Path) -> None:
        self.directory = directory
        self._bin = directory / "venv" / "bin"
        self.python = str(self._bin / "python")
        self.devserver = str(self._bin / "devserver")
        # Programs of the environment are found by name, as in an environment that was activated.
        self._path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        uv = [sys.executable, "-m", "uv", "--quiet"]
        self.run(*uv, "venv", "--no-python-downloads", "--python", case.python, str(directory / "venv"))
        extra = f"[{case.extra}]" if case.extra else ""
        wanted = [f"--resolution={case.resolution}", f"devserver{extra} @ {wheel.as_uri()}"]
        self.run(*uv, "pip", "install", "--python", self.python, *wanted)
        self.run(*uv, "pip", "check", "--python", self.python)

    def run(self, *command: str, expected: int = 0) -> str:
        """What a program says; raises :class:`Failed` where it ends with another status than expected."""
        ended = subprocess.run(  # noqa: S603 - words made here
            command,
            cwd=self.directory,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST,
            check=False,
        )
        if ended.returncode != expected:
            raise Failed(f"`{' '.join(command)}` ended with {ended.returncode}:\n{ended.stdout}")
        return ended.stdout

    @property
    def variables(self) -> dict[str, str]:
        """The environment of what runs here."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
        return {**own, "PATH": self._path}

    @contextmanager
    def running(self, name: str, *command: str) -> Iterator[Path]:
        """Run a program in the background, with its output in a file; it has to end with status 0 on SIGTERM."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - words made here
                command,
                cwd=self.directory,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield log
            process.send_signal(signal.SIGTERM)
            status = process.wait(15)
        except (Failed, subprocess.TimeoutExpired) as error:
            raise Failed(f"{error}\n{name} said:\n{log.read_text()}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            raise Failed(f"{name} ended with {status}:\n{log.read_text()}")


def check(case: Case, wheel: Path, directory: Path) -> float:
    """Install and start everything that the case has; how many seconds that took."""
    began = time.monotonic()
    directory.mkdir()
    environment = Environment(directory, case, wheel)
    environment.run(environment.python, "-c", _IS_OURS_ALONE)
    environment.run(environment.python, "-c", "from web.client import Client")
    for words in (["--version"], ["--help"], ["catalog"], ["token", "lab", "--scope", "stage"], ["nginx-config"]):
        environment.run(environment.devserver, *words)
    _check_server(environment)
    _check_worker(environment, is_to_work=case.extra in _WITH_WORKERS)
    _check_demo(environment, is_to_work=case.extra in _WITH_DEMO)
    return time.monotonic() - began


def _check_server(environment: Environment, *options: str) -> None:
    """Have a server stage a build from a directory by a worker process, and every command ask it."""
    root = environment.directory / "archive"
    build = root / _BUILD
    (build / "debug" / "breakpad").mkdir(parents=True, exist_ok=True)
    (build / "debug" / "breakpad" / "symbols.txt").write_text("what is staged")
    environment.run("tar", "-czf", str(build / "debug.tgz"), "-C", str(build), "debug")
    portfile = environment.directory / "port"
    portfile.unlink(missing_ok=True)
    served = ["--port", "0", "--portfile", str(portfile), "--static-dir", "builds", "--archive-root", str(root)]
    with environment.running("devserver", environment.devserver, *served, *options):
        url = f"http://127.0.0.1:{_written(portfile)}"
        name = f"file://{build}"
        wanted = ["stage", "--artifact", "symbols", "--wait", "--timeout", "60", name]
        for words in (wanted, ["status"], ["status", name], ["builds"], ["wait", "--artifact", "symbols", name]):
            environment.run(environment.devserver, *words, "--server", url)
        client = f"from web.client import Client; print(Client({url!r}).is_staged({name!r}, ['symbols']))"
        if environment.run(environment.python, "-c", client).strip() != "True":
            raise Failed("the client does not find what was staged")
    if not list((environment.directory / "builds").rglob("symbols.txt")):
        raise Failed("nothing is in the static directory")
    for words in (["verify"], ["gc", "--dry-run"]):
        environment.run(environment.devserver, "--static-dir", "builds", *words)
    shutil.rmtree(environment.directory / "builds")


def _check_worker(environment: Environment, *, is_to_work: bool) -> None:
    """Have a server stage by a worker of a cluster, or be told what that takes."""
    if not is_to_work:
        said = environment.run(environment.devserver, "--broker", "redis://127.0.0.1:1", "worker", expected=2)
        if "devserver[cluster]" not in said and "broker" not in said:
            raise Failed(f"without what a cluster takes, a worker says:\n{said}")
        return
    with _redis(environment) as broker:
        root = environment.directory / "archive"  # of the server's as well: URLs mean the same to both
        options = ["--broker", broker, "--static-dir", "builds", "--archive-root", str(root)]
        with environment.running("worker", environment.devserver, *options, "worker"):
            _check_server(environment, "--executor", "celery", "--broker", broker)


@contextmanager
def _redis(environment: Environment) -> Iterator[str]:
    """The address of a Redis that keeps nothing."""
    if not Path(_REDIS).exists():
        raise Failed("a worker takes a Redis to start: ./debian-packages redis-tools")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603 - words made here
        ["redis-server", *f"--port {port} --bind 127.0.0.1 --appendonly no --save".split(), ""],  # noqa: S607 - its name
        executable=_REDIS,
        cwd=environment.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        _until(lambda: _is_listening(port), "Redis does not start")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _check_demo(environment: Environment, *, is_to_work: bool) -> None:
    """Have the demonstration run to its end, or say what it takes."""
    if is_to_work:
        environment.run(environment.devserver, "demo", "--once")
        return
    environment.run(environment.devserver, "demo", "--help")
    if "gcp-storage-emulator" not in environment.run(environment.devserver, "demo", "--once", expected=1):
        raise Failed("without its emulator, the demonstration does not say what it takes")


def _written(portfile: Path) -> int:
    """The port that a server wrote down."""
    _until(lambda: portfile.is_file() and bool(portfile.read_text()), "the devserver does not listen")
    return int(portfile.read_text())


def _until(question: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not question():
        if time.monotonic() > deadline:
            raise Failed(failure)
        time.sleep(0.05)


def _say(text: str) -> None:
    sys.stdout.write(f"install-check: {text}\n")
    sys.stdout.flush()


def _interpreters() -> Iterator[tuple[str, str]]:
    """The Pythons to install on, with what each is called; where one is not to be had, this is said."""
    found = 0
    for wanted in _PYTHONS:
        path = _interpreter(wanted)
        if path is None:
            _say(f"there is no Python {wanted} here")
        else:
            found += 1
            yield path, wanted
    if not found:
        label = ".".join(map(str, sys.version_info[:2]))
        _say(f"Python {label} alone is tried")
        yield sys.executable, label


def _interpreter(wanted: str) -> str | None:
    """The path of a Python of this version, by its name or where pyenv has those that it made."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    made = sorted(map(str, root.glob(f"versions/{wanted}.*/bin/python")), reverse=True)
    for path in (*filter(None, [shutil.which(f"python{wanted}")]), *made):
        told = subprocess.run([path, "-c", "import venv"], capture_output=True, check=False)  # noqa: S603
        if told.returncode == 0:
            return path
    return None


def _extras() -> list[str]:
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(_PROJECT / "setup.py"))
    return list(setup.call_args.kwargs["extras_require"])


def _wheel(directory: Path) -> Path:
    """The devserver's wheel, made of a copy of the checkout: what earlier builds left there is not taken along."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=_PROJECT,
        capture_output=True,
        check=True,
    )
    for name in map(os.fsdecode, filter(None, listed.stdout.split(b"\0"))):
        if (_PROJECT / name).is_file():
            target = directory / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_PROJECT / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(directory), str(directory / "source")], check=True)  # noqa: S603
    (wheel,) = directory.glob("devserver-*.whl")
    return wheel


def _cases(only: Sequence[str]) -> list[Case]:
    cases = []
    for path, label in _interpreters():
        cases += [Case(path, label, extra, _NEWEST) for extra in ("", *_extras())]
        cases += [Case(path, label, extra, _OLDEST) for extra in _OF_OLDEST]
    return [case for case in cases if all(word in str(case) for word in only)]


def _told(case: Case, wheel: Path, directory: Path) -> bool:
    """Check one case, and say how that ended; whether it ended well."""
    try:
        seconds = check(case, wheel, directory)
    except (Failed, subprocess.SubprocessError) as error:
        _say(f"{case}: FAILED\n{error}")
        return False
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _say(f"{case}: all of it starts ({seconds:.0f} s)")
    return True


def main(arguments: Sequence[str]) -> int:
    """Check every case; the exit status."""
    parser = argparse.ArgumentParser(description="Install the devserver into clean environments, and start it there.")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="cases with this in their name")
    only = parser.parse_args(arguments).only
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="devserver-install-check-") as scratch:
        directory = Path(scratch)
        wheel = _wheel(directory)
        cases = _cases(only)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            places = [directory / f"{number}" for number in range(len(cases))]
            good = list(pool.map(_told, cases, [wheel] * len(cases), places))
    _say(f"{sum(good)} of {len(cases)} in {time.monotonic() - began:.0f} s")
    return 0 if all(good) and cases else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
