"""Asks the Python Package Index for known vulnerabilities of what the devserver is made of: `make check` runs this.

What the devserver needs to run is asked for, and what that needs; not the tools that it is made with. Where the index
cannot be asked, that is said, and is no failure. ``[tool.devserver.audit]`` in pyproject.toml waives an advisory that
does not concern the devserver: its name, and why.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT = "devserver"
_PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TIME = 120.0  # seconds that the index is given


def main() -> int:
    """Ask, and tell; the exit status."""
    answer = _asked(_pins(), sorted(_waived()))
    skipped = [item["name"] for item in answer or () if "skip_reason" in item]
    if answer is None or len(skipped) == len(answer):
        sys.stderr.write("audit: the index could not be asked; nothing was audited\n")
        return 0
    found = [(item, vulnerability) for item in answer for vulnerability in item.get("vulns", ())]
    for item, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no version"
        sys.stderr.write(f"audit: {item['name']} {item['version']}: {vulnerability['id']}, mended in {mended}\n")
    sys.stdout.write(f"audit: {len(answer) - len(skipped)} packages asked for, {len(skipped)} unknown to the index\n")
    return 1 if found else 0


def _pins() -> list[str]:
    """What is installed of all that the devserver needs to run."""
    found: dict[str, str] = {}
    waiting = [_PROJECT]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # of another Python's, or another system's
            continue
        if name not in found:
            found[name] = installed.version
            # An extra's are not needed, unless somebody asks for it: what is installed of them is a tool's.
            waiting += [_name(text) for text in installed.requires or () if "extra ==" not in text]
    del found[_PROJECT]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0] if match else requirement


def _waived() -> dict[str, str]:
    """The advisories that do not concern the devserver, and why."""
    settings = tomllib.loads(_PYPROJECT.read_text())
    waived: dict[str, str] = settings["tool"].get(_PROJECT, {}).get("audit", {})
    return waived


def _asked(pins: list[str], waived: list[str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None where it could not ask."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=10"]
        command += ["--vulnerability-service=pypi", "--disable-pip", "--no-deps", f"--requirement={file.name}"]
        command += [option for name in waived for option in ("--ignore-vuln", name)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIME, check=False)  # noqa: S603
            answer: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return None
    return answer


if __name__ == "__main__":
    sys.exit(main())
