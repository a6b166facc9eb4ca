"""Asks for known vulnerabilities of all that the devserver is made of when it runs: `make check` runs this.

Every version in requirements.lock is asked for, whatever Python it is for: the Python Package Index is asked, and where
it cannot be, OSV. The last line is the result: `audit: clean`, `audit: vulnerable` (status 1) or `audit: not audited`,
which is status 2 with `--required` and 0 otherwise, for machines without a network. A service is believed once it knew
of an advisory that is known to be there: a proxy's page, or an answer of nothing, is no audit.

``[tool.devserver.audit]`` in pyproject.toml waives an advisory that does not concern the devserver: its name, and why.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_KNOWN = "jinja2==2.11.1"  # which PYSEC-2021-66 is about
_TIME = 120.0  # seconds that a service is given
_SERVICES = [["--vulnerability-service=pypi"], ["--vulnerability-service=osv"]]
_VULNERABLE = "vulnerable"
_NOT_AUDITED = "not audited"

Packages = list[dict[str, Any]]


def main(arguments: Sequence[str]) -> int:
    """Ask, and tell; the exit status."""
    parser = argparse.ArgumentParser(description="Ask for known vulnerabilities of what the lock file pins.")
    parser.add_argument("--required", action="store_true", help="fail where none can be asked for")
    parser.add_argument("--lock", type=Path, default=_PROJECT / "requirements.lock", help="the lock file")
    parser.add_argument("--osv-url", help="ask this service, which speaks as OSV does, and no other")
    options = parser.parse_args(arguments)
    services = [["--vulnerability-service=osv", f"--osv-url={options.osv_url}"]] if options.osv_url else _SERVICES
    pins = _PIN.findall(options.lock.read_text(encoding="utf-8"))
    packages = next(filter(None, (_audited(pins, service) for service in services)), None)
    result = _NOT_AUDITED if packages is None else _told(packages)
    sys.stdout.write(f"audit: {result}\n")
    return {_VULNERABLE: 1, _NOT_AUDITED: 2 if options.required else 0}.get(result, 0)


def _told(packages: Packages) -> str:
    """Print what was found; the result."""
    found = [(item, vulnerability) for item in packages for vulnerability in item.get("vulns", ())]
    for item, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no version"
        sys.stdout.write(f"audit: {item['name']} {item['version']}: {vulnerability['id']}, mended in {mended}\n")
    skipped = [item["name"] for item in packages if "skip_reason" in item]
    if skipped:
        sys.stdout.write(f"audit: the service does not know {', '.join(skipped)}\n")
    sys.stdout.write(f"audit: {len(packages) - len(skipped)} packages asked for\n")
    return _VULNERABLE if found else _NOT_AUDITED if skipped else "clean"


def _audited(pins: Sequence[tuple[str, str]], service: Sequence[str]) -> Packages | None:
    """What a service says of every package; None where it could not be asked, or is not to be believed."""
    known = _asked([_KNOWN], service, ())
    if not known or not known[0].get("vulns"):
        return None
    packages: Packages = []
    for file in _files(pins):
        answer = _asked(file, service, sorted(_waived()))
        if answer is None or len(answer) != len(file):
            return None
        packages += answer
    return packages if packages and any("skip_reason" not in item for item in packages) else None


def _files(pins: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The pins, in lists that have no package twice, as pip-audit wants them: a lock has two versions of some."""
    files: list[dict[str, str]] = []
    for name, version in sorted(set(pins)):
        file = next((file for file in files if name not in file), None)
        if file is None:
            files.append(file := {})
        file[name] = version
    return [[f"{name}=={version}" for name, version in file.items()] for file in files]


def _waived() -> dict[str, str]:
    """The advisories that do not concern the devserver, and why."""
    settings = tomllib.loads((_PROJECT / "pyproject.toml").read_text())
    waived: dict[str, str] = settings["tool"].get("devserver", {}).get("audit", {})
    return waived


def _asked(pins: Sequence[str], service: Sequence[str], waived: Iterable[str]) -> Packages | None:
    """What pip-audit says of each package; None where it could not ask."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "pins.txt")
        file.write_text("\n".join(pins))
        command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=10"]
        command += [*service, "--disable-pip", "--no-deps", f"--requirement={file}"]
        command += [f"--cache-dir={directory}/cache"]  # an answer of yesterday is none of today
        command += [option for name in waived for option in ("--ignore-vuln", name)]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIME, check=False)  # noqa: S603
            answer: Packages = json.loads(ran.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return None
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
