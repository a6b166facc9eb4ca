"""What the devserver is made of: lock files that agree with setup.py, an audit that says what it did, a wheel that is
the same each time it is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock")


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / ".ci" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# Lock files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the lock files are made of, and of them."""
    for name in ("setup.py", "pyproject.toml", "README.md", *LOCKS):
        shutil.copy(PROJECT / name, tmp_path / name)
    return tmp_path


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("name", ["README.md", "docs/operator.md"])
def test_whoever_is_told_to_install_it_installs_what_is_locked(name: str) -> None:
    told = [line for line in (PROJECT / name).read_text().splitlines() if re.search(r"pip install [^`]", line)]
    assert len(told) >= 2
    assert [line for line in told if "--require-hashes" not in line and "--no-deps" not in line] == []


def test_the_lock_files_do_what_setup_py_asks_for() -> None:
    checked = script("lock.py", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_index_and_nothing_but_hashed_pins(name: str) -> None:
    text = (PROJECT / name).read_text()
    assert not re.search(r"https?:|file:|--index|--find-links|--extra|git\+", text)
    pins = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line, re.IGNORECASE)]
    assert pins
    assert all("==" in pin for pin in pins)
    assert text.count("--hash=sha256:") >= len(pins)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "setup.py",
            "RUNTIME = [",
            'RUNTIME = [\n    "flask>=3",',
            "flask>=3 is not met on Python 3.10, 3.11, 3.12, 3.13",
        ),
        ("setup.py", '"isal>=1.7,<2"', '"isal>=1.7,<1.8"', "isal<1.8,>=1.7 is not met"),
        ("setup.py", '    "isal>=1.7,<2",\n', "", "isal is no longer asked for"),
        ("setup.py", "; python_version < '3.11'", "", "tomli<3,>=2 is not met on Python 3.11, 3.12, 3.13"),
        ("pyproject.toml", "setuptools>=77", "setuptools>=999", "setuptools>=999 is not met"),
        ("requirements.lock", "\nisal==", "\nisal>=", "pins nothing"),
        ("requirements.lock", "\nisal==", "\n--extra-index-url x\nisal==", "pins nothing"),
        ("requirements.lock", "\nisal==", "\nflask @ x\nisal==", "pins nothing"),
    ],
)
def test_a_lock_file_that_disagrees_is_told_of(project: Path, file: str, old: str, new: str, said: str) -> None:
    changed(project / file, old, new)
    checked = script("lock.py", "--check", f"--project={project}")
    assert checked.returncode == 1
    assert f"lock: requirements.lock: {said}" in checked.stderr


def test_a_pin_without_hashes_is_told_of(project: Path) -> None:
    lock = project / "requirements.lock"
    lock.write_text(re.sub(r"(\nisal==\S+) (\\\n    --hash=\S+ ?)+", r"\1\n", lock.read_text()))
    checked = script("lock.py", "--check", f"--project={project}")
    assert checked.returncode == 1
    assert "requirements.lock: isal has no hashes" in checked.stderr


def test_a_lock_file_that_is_not_there_is_told_of(project: Path) -> None:
    (project / "requirements-demo.lock").unlink()
    checked = script("lock.py", "--check", f"--project={project}")
    assert checked.returncode == 1
    assert "requirements-demo.lock: is not there" in checked.stderr


# The audit

Answer = Callable[[str], tuple[int, bytes]]  # to the name of a package: status and body


def advisory(name: str) -> bytes:
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
    }
    return json.dumps({"vulns": [{"id": "TEST-1", "aliases": [], "summary": "x", "affected": [affected]}]}).encode()


def knows(*names: str) -> Answer:
    return lambda name: (200, advisory(name) if name in names else b"{}")


def always(status: int, body: bytes) -> Answer:
    return lambda _: (status, body)


@contextmanager
def index_of_advisories(answer: Answer) -> Iterator[str]:
    """A service that speaks as OSV does, of whose packages ``answer`` tells."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(asked["package"]["name"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file with two versions of one package, for two Pythons."""
    path = tmp_path / "requirements.lock"
    pins = [
        "click==8.1.0",
        "tempora==5.0 ; python_full_version < '3.11'",
        "tempora==5.1 ; python_full_version >= '3.11'",
    ]
    path.write_text("".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n    # via x\n" for pin in pins))
    return path


def audited(lock: Path, answer: Answer, *arguments: str) -> tuple[int, list[str]]:
    with index_of_advisories(answer) as url:
        ran = script("audit.py", f"--lock={lock}", f"--osv-url={url}", *arguments)
    return ran.returncode, ran.stdout.splitlines()


def test_what_is_clean_is_said_to_be(lock: Path) -> None:
    status, lines = audited(lock, knows("jinja2"))
    assert (status, lines) == (0, ["audit: 3 packages asked for", "audit: clean"])


def test_a_vulnerability_of_any_python_fails_the_check(lock: Path) -> None:
    status, lines = audited(lock, knows("jinja2", "tempora"))
    assert status == 1
    assert lines[:2] == [f"audit: tempora {one}: TEST-1, mended in 99" for one in ("5.0", "5.1")]
    assert lines[-1] == "audit: vulnerable"


@pytest.mark.parametrize(
    "answer",
    [
        always(200, b"<html>Sign in to this network</html>"),
        always(200, b"{}"),
        always(200, b'{"vulns": 1}'),
        always(500, b"{}"),
        lambda name: (200, advisory(name)) if name == "jinja2" else (503, b""),
    ],
    ids=["a page", "nothing", "another shape", "an error", "an error later on"],
)
def test_an_index_that_is_not_to_be_believed_is_no_audit(lock: Path, answer: Answer) -> None:
    assert audited(lock, answer) == (0, ["audit: not audited"])


def test_an_index_out_of_reach_is_no_audit_and_fails_where_one_is_required(lock: Path) -> None:
    with index_of_advisories(knows()) as url:
        pass
    required = script("audit.py", f"--lock={lock}", f"--osv-url={url}", "--required")
    assert (required.returncode, required.stdout) == (2, "audit: not audited\n")


# The wheel


@pytest.mark.skipif(Version(version("setuptools")) < Version("77"), reason="setuptools is older than the locked one")
def test_a_wheel_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    digests = set()
    for place in ("one", "another"):
        copy = tmp_path / place
        ignored = shutil.ignore_patterns(
            ".*", "tests", "docs", "bench*", "campaigns", "screenshots", "static", "*-data", "*.egg-info", "build"
        )
        shutil.copytree(PROJECT, copy, ignore=ignored)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run([*command, f"--wheel-dir={copy}/dist", "."], cwd=copy, env=environment, check=True, timeout=120)
        (wheel,) = (copy / "dist").glob("*.whl")
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert len(digests) == 1
