"""The documents say what is so: their examples run, their links lead somewhere, and they name everything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devserver import command_line
from devserver_settings import SETTINGS
from tests.builds import Build, tarball
from tests.fake_archive import FakeArchive
from tests.lab_build import make_lab_build
from tests.servers import PROJECT, DevServer
from web.api.operations import OPERATIONS, PREFIX
from web.application import Root

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.glob("*.md"))]
UNITS = sorted(DOCS.glob("*.service"))
WRITTEN_AS = "http://devserver:8080"  # the devserver of the examples


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page that are of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


# Links and names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for target in targets:
        if not re.match(r"https?://", target):
            name, _, heading = target.partition("#")
            linked = page.parent / name if name else page
            assert linked.exists(), f"{page.name} links to {target}"
            assert not heading or heading in headings(linked), f"{page.name} links to {target}"


def headings(page: Path) -> list[str]:
    """The names by which a page's headings are linked to."""
    return [
        re.sub(r"[^\w\- ]", "", line).strip().replace(" ", "-").lower()
        for line in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    ]


def test_every_rpc_is_in_the_harness_page() -> None:
    text = (DOCS / "harness.md").read_text()
    rpcs = [name for name in dir(Root) if getattr(getattr(Root, name), "exposed", False)]
    assert "stage" in rpcs
    for name in rpcs:
        is_page = name in ("index", "builds", "login", "assets", "favicon_ico")
        assert is_page or f"| `/{name}` |" in text, f"/{name} is not documented"


def test_every_operation_is_in_the_harness_page() -> None:
    rows = re.findall(r"^\| `([A-Z]+ /api/\S+)` \|", (DOCS / "harness.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(f"{one.method} {PREFIX}{one.path}" for one in OPERATIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    of_commands = {option.envvar for command in command_line.commands.values() for option in command.params}
    known = {setting.environment_variable for setting in SETTINGS} | of_commands
    of_others = {"DEVSERVER_SERVICE_HOST"}  # Kubernetes', of a service that is called so
    assert set(re.findall(r"\bDEVSERVER_[A-Z_]+\b", page.read_text())) <= known | of_others


TESTS = {path.name: path.read_text() for path in sorted((PROJECT / "tests").glob("test_*.py"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    of_files = re.findall(r"\b(test_\w+\.py)(?:::(test_\w+))?", text)
    assert [name for name, test in of_files if f"def {test}" not in TESTS.get(name, "")] == []
    # In a table, a test may be named without its file, which stands before it.
    alone = re.findall(r"`[:\u2026]*(test_\w+)`", text)
    others = {"test_suites", "test_image"}  # artifacts
    assert [test for test in alone if test not in others and f"def {test}(" not in "".join(TESTS.values())] == []


def test_every_attack_has_what_happens_what_happened_before_and_a_test() -> None:
    section = (DOCS / "security.md").read_text().partition("## Attacks")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert len(rows) > 100
    for row in rows:
        cells = [cell.strip() for cell in re.sub(r"`[^`]*`", lambda code: code[0].replace("|", "/"), row).split("|")]
        assert len(cells) == 6, row
        assert all(cells[1:-1]), row
        assert cells[4] == "test" or re.search(r"test_\w+|the same test|`make ", cells[4]), row


# Examples


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The devserver that the harness page speaks of; the build of its examples is in the archive."""
    with FakeArchive() as archive:
        make_lab_build(Build().version).upload(archive)
        server = DevServer(tmp_path_factory.mktemp("docs"), environment={"STORAGE_EMULATOR_HOST": archive.url})
        yield server
        server.close()


def test_the_harness_pages_python_runs(server: DevServer, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("harness.md", "python"):
        exec(compile(block.replace(WRITTEN_AS, server.url), "harness.md", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        expected = re.findall(r"print\(.*\)  # (.*)", block)
        assert len(printed) == len(expected)
        for line, pattern in zip(printed, expected, strict=True):
            assert is_as_written(line, pattern), f"{line!r} is not {pattern!r}"


def test_the_harness_pages_commands_answer_as_they_say(server: DevServer) -> None:
    server.stage(Build().url)
    for block in blocks("harness.md", "console"):
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n?)*)", block, re.MULTILINE):
            shell = ["bash", "-c", command.replace(WRITTEN_AS, server.url)]
            answer = subprocess.run(shell, check=True, capture_output=True, text=True, timeout=30).stdout
            assert is_as_written(answer.strip(), expected.strip()), f"{command} answered {answer!r}"


def is_as_written(text: str, example: str) -> bool:
    """Whether ``text`` is what a page has, in which an ellipsis stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, example.split("…"))), text, re.DOTALL) is not None


# The extensions


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with everything in it that the page on extending it shows."""
    copy = tmp_path_factory.mktemp("extended") / "project"
    for name in ("artifacts", "commands", "staging", "tests", "web", "wiring"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*PROJECT.glob("*.py"), PROJECT / "pyproject.toml"):
        shutil.copy(path, copy)
    for language in ("python", "toml"):
        for block in blocks("extending.md", language):
            (name,) = re.findall(r"\A# (\S+)\n", block)
            (copy / name).write_text(block)
    for block in blocks("extending.md", "diff"):
        for name, hunks in re.findall(r"^--- (\S+)\n((?:(?!--- ).*\n)+)", block, re.MULTILINE):
            for hunk in hunks.split("@@\n"):
                change(copy / name, hunk)
    return copy


def change(path: Path, hunk: str) -> None:
    """Replace the lines of ``hunk`` that are to be there by those that shall be."""
    before, after = ("".join(re.findall(rf"^[ {sign}](.*\n)", hunk, re.MULTILINE)) for sign in "-+")
    text = path.read_text()
    assert text.count(before) == 1, f"docs/extending.md shows another {path.name}: {before}"
    path.write_text(text.replace(before, after))


# What of the project's own tests is to be run over the extensions.
SUITES = {
    "archive": ["tests/test_archives.py", "-k", "zip"],
    "executor": ["tests/test_executors.py", "-k", "interpreter"],
    "layers": ["tests/test_architecture.py", "-k", "zipped or interpreter or layer"],
    "a whole build": ["tests/test_main_job.py", "-k", "test_a_build_is_staged_as_the_catalogue_says"],
}


@pytest.mark.parametrize("suite", SUITES)
def test_an_extension_keeps_the_promises(extended: Path, suite: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'suite'}", *SUITES[suite]]
    # The copy's coverage is nobody's, and the copy's run is no part of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST_"))}
    ran = subprocess.run(
        command, check=False, cwd=extended, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^\d+ passed", ran.stdout, re.MULTILINE), ran.stdout


def test_a_catalogue_of_ones_own_stages_what_it_says(extended: Path, tmp_path: Path) -> None:
    with FakeArchive() as archive:
        archive.put("lab", "boards/7/kernel-6.1.bin", b"a kernel")
        files = {"lib/modules/a.ko": b"a", "lib/modules/debug/a.debug": b"large"}
        archive.put("lab", "boards/7/modules.tgz", tarball(files, "gz"))
        options = ("--catalog", str(extended / "catalogue.toml"))
        server = DevServer(tmp_path, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        try:
            server.stage("gs://lab/boards/7")
            assert server.get("/static/boards/7/boot/kernel").content == b"a kernel"
            assert server.get("/static/boards/7/lib/modules/a.ko").content == b"a"
            assert server.get("/static/boards/7/lib/modules/debug/a.debug").status_code == 404
        finally:
            server.close()


# The units


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    # What it starts is installed on the operator's machine, and need not be on this one.
    (program,) = set(re.findall(r"^ExecStart=(/\S+)", unit.read_text(), re.MULTILINE))
    for each in UNITS:
        (tmp_path / each.name).write_text(each.read_text().replace(f"ExecStart={program}", "ExecStart=/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert verified.stdout + verified.stderr == ""
    assert verified.returncode == 0


def test_the_unit_allows_as_many_files_and_threads_as_the_server_may_use() -> None:
    from web.http.accepting import _OTHER_FILES
    from web.http.server import _IDLE_CONNECTIONS, _THREADS_OF_OTHERS

    settings = dict(line.split("=", 1) for line in (DOCS / "devserver.service").read_text().splitlines() if "=" in line)
    (waiting,) = [setting.default for setting in SETTINGS if setting.name == "max-threads"]
    assert int(settings["LimitNOFILE"]) > waiting + _THREADS_OF_OTHERS + _IDLE_CONNECTIONS + _OTHER_FILES
    assert int(settings["TasksMax"]) > 2 * (waiting + _THREADS_OF_OTHERS)
