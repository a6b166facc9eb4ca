"""Writes the lock files, or says where they and what they are made of disagree: `make lock` and `make check` run this.

Each lock file pins all that an environment is made of, with hashes, for every Python that the devserver runs on. To
write one takes `uv` and an index of packages; to check one takes neither.
"""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT = Path(__file__).resolve().parent.parent
_FIRST = "requirements.lock"
_EXTRAS = {_FIRST: ("cluster", "lz4"), "requirements-demo.lock": ("demo",), "requirements-dev.lock": ("dev",)}
_PYTHONS = ("3.10", "3.11", "3.12", "3.13")
_RELEASES = ("0", "99")  # of each Python: markers draw lines between its releases, too
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
_BUILD = "build-requirements.txt"  # there while uv reads it
_DIRECT = re.compile(
    rf"devserver \(setup\.py\)|-r {re.escape(_BUILD)}"
)  # how a lock says that nothing else asked for a package


class Pin(NamedTuple):
    """One package of a lock file.

    Attributes:
        requirement: name, version and marker.
        is_hashed: whether it has hashes, and nothing else beside it.
        is_direct: whether the project itself asks for it.

    """

    requirement: Requirement
    is_hashed: bool
    is_direct: bool


def main(arguments: Sequence[str]) -> int:
    """Write, or check; the exit status."""
    parser = argparse.ArgumentParser(description="Write the lock files, or check them.")
    parser.add_argument("--check", action="store_true", help="say where they disagree with setup.py; no network")
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    parser.add_argument("--project", type=Path, default=_PROJECT, help="directory with setup.py and the lock files")
    options = parser.parse_args(arguments)
    if not options.check:
        for name in _EXTRAS:
            _write(options.project, name, options.upgrade)
    found = [f"{name}: {line}" for name in _EXTRAS for line in _disagreements(options.project, name)]
    for line in found:
        sys.stderr.write(f"lock: {line}\n")
    if found:
        sys.stderr.write("lock: `make lock` writes the lock files anew\n")
    return 1 if found else 0


def _write(project: Path, name: str, upgrade: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        f"--python-version={_PYTHONS[0]}",
    ]
    command += ["--generate-hashes", "--no-emit-index-url", "--custom-compile-command=make lock", "setup.py", _BUILD]
    command += [f"--extra={extra}" for extra in _EXTRAS[name]] + ["--output-file", name]
    command += [] if name == _FIRST else ["--constraint", _FIRST]  # the others have the same of what runs
    command += ["--upgrade"] if upgrade else []
    build = project / _BUILD
    build.write_text("\n".join(_build_requirements(project)))
    try:
        subprocess.run(command, cwd=project, check=True)  # noqa: S603 - words made here
    finally:
        build.unlink()


def _disagreements(project: Path, name: str) -> Iterator[str]:
    """What of a lock file does not do what setup.py and pyproject.toml ask for."""
    try:
        lines = _logical_lines((project / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield "is not there"
        return
    wanted = _requirements(project, _EXTRAS[name])
    pins = []
    for line in lines:
        pin = _pin(line)
        if pin is None:
            yield f"pins nothing: {line[:80]}"
        else:
            pins.append(pin)
    yield from (f"{pin.requirement.name} has no hashes" for pin in pins if not pin.is_hashed)
    yield from _unmet(wanted, pins)
    names = {canonicalize_name(requirement.name) for requirement in wanted}
    direct = {canonicalize_name(pin.requirement.name) for pin in pins if pin.is_direct}
    yield from (f"{name} is no longer asked for" for name in sorted(direct - names))


def _unmet(wanted: Sequence[Requirement], pins: Sequence[Pin]) -> Iterator[str]:
    """Requirements that no pin meets, on one Python or another."""
    for requirement in wanted:
        lacking = [python for python in _PYTHONS if not _meets(requirement, pins, python)]
        if lacking:
            yield f"{requirement} is not met on Python {', '.join(lacking)}"


def _meets(requirement: Requirement, pins: Sequence[Pin], python: str) -> bool:
    return all(_meets_on(requirement, pins, f"{python}.{release}") for release in _RELEASES)


def _meets_on(requirement: Requirement, pins: Sequence[Pin], full_version: str) -> bool:
    """Whether exactly one pin is for the requirement on this Python, and of a version that it allows."""
    if not _is_for(requirement, full_version):
        return True
    name = canonicalize_name(requirement.name)
    ours = [
        pin.requirement
        for pin in pins
        if canonicalize_name(pin.requirement.name) == name and _is_for(pin.requirement, full_version)
    ]
    versions = [specifier.version for pin in ours for specifier in pin.specifier]
    return len(versions) == 1 and requirement.specifier.contains(versions[0], prereleases=True)


def _is_for(requirement: Requirement, full_version: str) -> bool:
    python = full_version.rpartition(".")[0]
    environment = {
        "python_version": python,
        "python_full_version": full_version,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def _logical_lines(text: str) -> list[str]:
    """The lines of a lock file. A continued line is one, with the comment behind it that names what requires it."""
    lines: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("    #") and lines:
            lines[-1] += f"\n{line.strip()}"
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return lines


def _pin(line: str) -> Pin | None:
    text, *comments = line.split("\n")
    requirement_text, *hashes = text.split(" --", 1)
    if text.startswith("-") or "==" not in requirement_text or "@" in requirement_text:
        return None
    words = f"--{hashes[0]}".split() if hashes else []
    is_hashed = bool(words) and all(_HASH.fullmatch(word) for word in words)
    return Pin(Requirement(requirement_text), is_hashed, any(_DIRECT.search(comment) for comment in comments))


def _requirements(project: Path, extras: Sequence[str]) -> list[Requirement]:
    """What setup.py asks for, to run and for ``extras``, and what building takes."""
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(project / "setup.py"))
    told = setup.call_args.kwargs
    texts = [*told["install_requires"], *_build_requirements(project)]
    return [
        Requirement(text) for text in [*texts, *(text for extra in extras for text in told["extras_require"][extra])]
    ]


def _build_requirements(project: Path) -> list[str]:
    built: list[str] = tomllib.loads((project / "pyproject.toml").read_text())["build-system"]["requires"]
    return built


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
