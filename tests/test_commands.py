"""The commands that ask a devserver, as a script runs them and as a person sees them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from artifacts.catalogue import read_catalogue
from tests.builds import SYNCHRONOUS, Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.nginx import free_port
from tests.servers import PROJECT, DevServer, check_success
from tests.terminal import CTRL_C, environment, in_a_pipe, in_a_terminal

pytestmark = pytest.mark.shared_server

NOBODY = "http://127.0.0.1:9"
COMMANDS = (
    "serve",
    "stage",
    "status",
    "wait",
    "builds",
    "cancel",
    "remove",
    "pin",
    "unpin",
    "catalog",
    "gc",
    "verify",
    "ledger",
    "demo",
    "nginx-config",
    "token",
    "worker",
)
BAR = "━"
ESCAPE = "\x1b"
SHOW_CURSOR = "\x1b[?25h"
OF_A_DOWNLOAD = [entry.name for entry in read_catalogue().of_a_download]
BACKGROUND = "autotest.tar.bz2"
MISSING = "quick_provision"  # which the build does not have


def ask(server: DevServer, command: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return in_a_pipe(command, *arguments, "--server", server.url, **variables)


def spoil(archive: FakeArchive, build: Build) -> None:
    """Have the build fail in the background."""
    archive.put(build.bucket, f"{build.path}/{BACKGROUND}", b"this is no tarball")


def states(text: str) -> dict[str, str]:
    """The states of a build's artifacts, in its JSON."""
    return {artifact["name"]: artifact["state"] for artifact in json.loads(text)["artifacts"]}


# In a pipe


def test_in_a_pipe_each_change_of_state_is_a_line(server: DevServer, build: Build) -> None:
    ended = ask(server, "stage", build.url, "--wait")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ESCAPE not in ended.stdout
    lines = ended.stdout.splitlines()
    assert lines[-1] == f"{build.path}: staged"
    for name in OF_A_DOWNLOAD:
        told = [line.partition(": ")[2].partition(",")[0] for line in lines if line.startswith(f"{name}: ")]
        assert told == sorted(set(told), key=["downloading", "staging", "staged"].index)
        assert told[-1] == "staged"
    build.check_staged(server.static_dir)


def test_it_returns_when_what_devices_need_first_is_staged(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding(BACKGROUND):
        ended = ask(server, "stage", build.url)
        assert ended.returncode == 0
        assert ended.stdout.splitlines()[-1] == (
            f"{build.path}: what devices need first is staged; `devserver wait {build.path}` waits for the rest"
        )
        assert {"update.gz", "stateful.tgz"} <= {path.name for path in (server.static_dir / build.path).iterdir()}
    waited = ask(server, "wait", build.path)
    assert (waited.returncode, waited.stdout.splitlines()[-1]) == (0, f"{build.path}: staged")
    build.check_staged(server.static_dir)


def test_artifacts_and_files_are_staged_by_name(server: DevServer, archive: FakeArchive, build: Build) -> None:
    named = ("--artifact", "stateful", "--file", "image.*")
    with archive.holding("stateful.tgz"):
        begun = ask(server, "stage", build.url, *named)
        assert begun.returncode == 0
        assert "staging has begun" in begun.stdout
    ended = ask(server, "stage", build.url, *named, "--wait", "--json")
    assert states(ended.stdout) == {"file:image.*": "staged", "stateful": "staged"}
    again = ask(server, "stage", build.url, *named, "--wait", "--clean")
    assert again.returncode == 0
    assert archive.bytes_sent("image.zip") == 2 * len(build.objects["image.zip"])


def test_what_failed_before_is_no_failure_of_what_is_asked_for_now(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    spoil(archive, build)
    assert ask(server, "stage", build.url, "--wait").returncode == 1
    assert ask(server, "stage", build.url, "--artifact", "stateful", "--wait").returncode == 0
    assert ask(server, "wait", build.url).returncode == 1


def test_a_build_is_named_by_its_path_or_its_url(start_server: StartServer, tmp_path: Path, build: Build) -> None:
    root = tmp_path / "archive"
    own = make_build(target="own").write(root)
    server = start_server("--archive-root", str(root))
    assert ask(server, "stage", build.url).returncode == 0
    assert ask(server, "stage", f"file://{root}/{own.path}").returncode == 0
    for name in (build.path, f"/{build.path}/", build.url, f"{build.url}/"):
        assert json.loads(ask(server, "status", name, "--json").stdout)["build"] == build.path
    for name in (own.path, f"file://{root}/{own.path}", f"file://{root}//{own.path}/"):
        assert json.loads(ask(server, "status", name, "--json").stdout)["build"] == own.path
    elsewhere = ask(server, "status", f"gs://elsewhere/{build.path}")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert f"gs://elsewhere/{build.path} is neither staged nor being staged" in elsewhere.stderr


@pytest.mark.own_server
def test_builds_are_shown_and_removed(server: DevServer, archive: FakeArchive, build: Build) -> None:
    spoil(archive, build)
    other = make_build(version="R18-2.0.0").upload(archive)
    assert ask(server, "stage", other.url, "--wait").returncode == 0
    assert ask(server, "stage", build.url, "--wait").returncode == 1
    listed = ask(server, "builds").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [[build.path, "failed"], [other.path, "staged"]]
    assert ask(server, "builds", other.path).stdout.startswith(other.path)
    shown = ask(server, "status", build.path).stdout
    assert shown.startswith(f"{build.path}: failed, ")
    assert re.search(r"(?m)^  autotest +failed .*BadTarball: autotest", shown)
    removed = ask(server, "remove", other.url, "--yes")
    assert (removed.returncode, removed.stdout) == (0, f"{other.path}: removed\n")
    assert not (server.static_dir / other.path).exists()
    assert len(ask(server, "builds").stdout.splitlines()) == 1


def test_the_servers_health_is_shown(server: DevServer) -> None:
    shown = ask(server, "status")
    assert shown.returncode == 0
    assert f" at {server.url}\n" in shown.stdout
    assert re.search(r"(?m)^  free on the disk +[0-9.]+ [GT]iB$", shown.stdout)
    assert re.search(r"(?m)^  processors busy +[0-9]+ %$", shown.stdout)
    assert "_" not in shown.stdout


def test_the_server_may_be_named_in_front_of_the_command_as_well(server: DevServer) -> None:
    for arguments in (["--server", server.url, "builds"], ["builds", "--server", server.url]):
        assert in_a_pipe(*arguments, DEVSERVER_SERVER=NOBODY).returncode == 0
    assert in_a_pipe("--server", NOBODY, "builds", "--server", server.url).returncode == 0


def test_a_value_from_the_environment_is_said_to_be_from_there() -> None:
    assert "(env var: 'DEVSERVER_PORT'): 'x'" in in_a_pipe(DEVSERVER_PORT="x").stderr


def test_what_is_under_way_is_cancelled(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with archive.holding(BACKGROUND) as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        refused = ask(server, "remove", build.path, "--yes")
        assert "cancel that first" in refused.stderr
        cancelled = ask(server, "cancel", build.url)
        assert (cancelled.returncode, cancelled.stdout.count("\n")) == (0, 1)
    assert re.search(r"(?m)^  autotest +cancelled", ask(server, "status", build.path).stdout)
    again = ask(server, "cancel", build.path)
    assert (again.returncode, again.stderr.startswith("devserver: NotUnderWay")) == (1, True)
    assert ask(server, "remove", build.path, "--yes").returncode == 0


@pytest.mark.own_server
def test_what_was_not_asked_for_spoils_no_complete_build(server: DevServer, build: Build) -> None:
    assert ask(server, "stage", build.url, "--wait").returncode == 0
    assert ask(server, "stage", build.url, "--artifact", MISSING, "--wait").returncode == 1
    assert server.get("/is_staged", archive_url=build.url, artifacts=MISSING).status_code == 500
    staged = ask(server, "stage", build.url, "--artifact", "stateful", "--wait")
    assert (staged.returncode, MISSING in staged.stdout) == (0, False)
    waited = ask(server, "wait", build.path)
    assert (waited.returncode, MISSING in waited.stdout) == (0, False)
    assert ask(server, "builds").stdout.split()[1] == "staged"
    assert re.search(rf"(?m)^  {MISSING} +failed .*ObjectNotFound", ask(server, "status", build.path).stdout)
    assert ask(server, "wait", build.path, "--artifact", MISSING).returncode == 1


def test_the_state_of_what_was_asked_for_is_in_the_json(server: DevServer, build: Build) -> None:
    assert ask(server, "stage", build.url, "--artifact", MISSING, "--wait").returncode == 1
    staged = json.loads(ask(server, "stage", build.url, "--artifact", "stateful", "--wait", "--json").stdout)
    assert staged["asked"] == {"state": "staged", "artifacts": {"stateful": "staged"}}
    failed = json.loads(ask(server, "stage", build.url, "--artifact", MISSING, "--wait", "--json").stdout)
    assert failed["asked"]["state"] == "failed"


@pytest.mark.own_server
def test_a_build_of_which_only_a_part_is_here_is_not_called_staged(server: DevServer, build: Build) -> None:
    assert ask(server, "stage", build.url, "--artifact", "stateful", "--wait").returncode == 0
    server.stop()
    server.start_again()
    assert ask(server, "builds").stdout.split()[1:3] == ["in", "part"]
    waited = ask(server, "wait", build.path)
    assert (waited.returncode, waited.stderr.startswith("devserver: only a part of ")) == (1, True)
    assert f"`devserver stage {build.url}` stages the rest" in waited.stderr
    assert ask(server, "wait", build.path, "--artifact", "stateful").returncode == 0
    assert ask(server, "stage", build.url, "--wait").returncode == 0
    assert ask(server, "builds").stdout.split()[1] == "staged"


def test_who_waits_goes_on_where_the_devserver_starts_anew(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    server = start_server("--port", str(free_port()))  # which it has again after its restart
    with ThreadPoolExecutor(1) as pool, archive.holding("autotest.tar.bz2") as reached:
        waiting = pool.submit(in_a_pipe, "stage", build.url, "--wait", "--server", server.url)
        assert reached.wait(20)
        assert server.stop() == 0
        server.start_again()
        _ = server.port
    ended = waiting.result(60)
    assert (ended.returncode, ended.stderr) == (0, "")
    build.check_staged(server.static_dir)


def test_the_time_that_is_given_is_for_asking_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # which takes connections, and says nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for command in (["stage", "gs://a/b/c", "--wait"], ["wait", "b/c"]):
            ended = in_a_pipe(*command, "--timeout", "0.5", "--server", address)
            assert (ended.returncode, ended.stderr.count("\n")) == (4, 1), ended.stderr


def test_a_cause_is_told_once(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.remove(build.bucket, f"{build.path}/stateful.tgz")
    assert ask(server, "stage", build.url, "--wait").stdout.count("ObjectNotFound") == 1
    for words in ([], ["--wait"]):
        missing = ask(server, "stage", f"{build.url}-nowhere", *words)
        assert (missing.returncode, missing.stdout) == (1, "")
        assert missing.stderr == f"devserver: ObjectNotFound: Could not find {build.url}-nowhere\n"
    assert "autotest: not tried\n" in ask(server, "stage", build.url, "--wait").stdout


# JSON


@pytest.mark.own_server
def test_every_answer_is_json_where_a_script_asks_for_it(server: DevServer, build: Build) -> None:
    def answer(command: str, *arguments: str) -> Any:
        ended = ask(server, command, *arguments, "--json")
        assert (ended.returncode, ended.stderr) == (0, "")
        return json.loads(ended.stdout)

    address = f"{server.url}/api/v1/builds/{quote(build.path, safe='')}"
    assert answer("stage", build.url)["build"] == build.path
    assert answer("stage", build.url, "--wait")["asked"]["state"] == "staged"
    assert answer("wait", build.path) == requests.get(address, timeout=10).json()
    assert answer("status", build.path) == answer("wait", build.path)
    assert answer("builds") == [answer("status", build.path)]
    assert answer("builds", "no/such") == []
    assert answer("status")["health"].keys() == requests.get(f"{server.url}/api/v1/health", timeout=10).json().keys()
    entries = json.loads(in_a_pipe("catalog", "--json").stdout)
    assert [entry["name"] for entry in entries] == [entry.name for entry in read_catalogue().entries]


def test_the_json_of_a_failure_has_the_cause(server: DevServer, archive: FakeArchive, build: Build) -> None:
    spoil(archive, build)
    ended = ask(server, "stage", build.url, "--wait", "--json")
    assert ended.returncode == 1
    (cause,) = [artifact["cause"] for artifact in json.loads(ended.stdout)["artifacts"] if artifact["cause"]]
    assert ended.stderr == f"devserver: {cause['kind']}: {cause['text']}\n"


# Exit statuses


def test_a_failure_is_status_1(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.remove(build.bucket, f"{build.path}/stateful.tgz")
    cause = f"devserver: ObjectNotFound: Could not find {build.url}/stateful.tgz\n"
    for arguments in (["stage", build.url], ["stage", build.url, "--wait"], ["wait", build.url]):
        ended = ask(server, *arguments)
        assert (ended.returncode, ended.stderr) == (1, cause)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage", "no-url"], "InvalidArchiveUrl"),
        (["stage", "gs://a/b/c", "--artifact", "statefull"], "did you mean stateful"),
        (["status", "no/build"], "NotStaged"),
        (["status", "gs://no/build"], "NotStaged"),
        (["status", "file:///no/build"], "neither staged nor being staged"),
        (["status", "ftp://no/build"], "InvalidArchiveUrl"),
        (["wait", "no/build"], "NotStaged"),
        (["remove", "no/build", "--yes"], "NotStaged"),
    ],
)
def test_what_the_server_refuses_is_status_1(server: DevServer, arguments: list[str], message: str) -> None:
    ended = ask(server, *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("devserver: ")
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage"], "Missing argument 'URL'"),
        (["wait", "a/b", "--timeout", "soon"], "'soon' is not a valid number"),
        (["wait", "a/b", "--timeout", "0"], "--timeout"),
        (["stage", "gs://a/b/c", "--artifact", "stateful", "--timeout", "1"], "--timeout goes with --wait"),
        (["status", "--server", "ftp://somewhere"], "is no address of a devserver"),
        (["status", "--server", "http://[bad"], "is no address of a devserver"),
        (["status", "--server", "http://a:b"], "is no address of a devserver"),
        (["remove", "a/b", "--server", NOBODY], "give --yes"),
        (["builds", "--nonsense"], "No such option"),
        (["--server", NOBODY], "--server goes with a command"),
        (["--port", "no"], "devserver: Invalid value for '--port': 'no' is not a valid whole number"),
    ],
)
def test_a_wrong_use_is_status_2(arguments: list[str], message: str) -> None:
    ended = in_a_pipe(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("devserver: ")
    assert message in ended.stderr


@pytest.mark.parametrize(
    "arguments", [["stage", "gs://a/b/c", "--wait"], ["status"], ["status", "a/b"], ["wait", "a/b"], ["builds"]]
)
def test_a_server_that_is_not_there_is_status_3(arguments: list[str]) -> None:
    ended = in_a_pipe(*arguments, DEVSERVER_SERVER="127.0.0.1:9")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == f"devserver: {NOBODY} cannot be reached: connection refused\n"


def test_what_is_no_devserver_is_status_3(archive: FakeArchive) -> None:
    ended = in_a_pipe("status", "--server", f"{archive.url}/storage/v1/b/bucket/o?")  # this answers JSON of its own
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.endswith("does not answer as a devserver does\n")


@pytest.mark.parametrize("held", [SYNCHRONOUS[1], BACKGROUND])
def test_time_that_is_over_is_status_4(server: DevServer, archive: FakeArchive, build: Build, held: str) -> None:
    with archive.holding(held) as reached:
        begun = ask(server, "stage", build.url, "--timeout", "0.5", *([] if held in SYNCHRONOUS else ["--wait"]))
        assert (begun.returncode, begun.stderr) == (4, "devserver: not staged after 0.5 s; the devserver goes on\n")
        assert reached.wait(10)
        waited = ask(server, "wait", build.path, "--timeout", "0.2", "--json")
        assert waited.returncode == 4
        assert "downloading" in states(waited.stdout).values()
    check_success(server.wait_for_status(build.url))


# In a terminal


def test_in_a_terminal_each_artifact_has_a_bar(server: DevServer, archive: FakeArchive, build: Build) -> None:
    with ExitStack() as stack:
        with archive.holding(BACKGROUND):
            terminal = stack.enter_context(in_a_terminal("stage", build.url, "--wait", "--server", server.url))
            terminal.see_match(rf"autotest\b[^\n]*{BAR}[^\n]*downloading")
        terminal.see_match(rf"autotest\b[^\n]*{BAR}[^\n]*staged")
        terminal.see(SHOW_CURSOR)
        terminal.see(f"{build.path}: staged")
        status, shown = terminal.end()
    assert status == 0
    for name in OF_A_DOWNLOAD:
        assert re.search(rf"{name}\b[^\n]*{BAR}[^\n]*staged", shown)
    build.check_staged(server.static_dir)


def test_a_failure_ends_the_bars_with_its_cause(server: DevServer, archive: FakeArchive, build: Build) -> None:
    spoil(archive, build)
    with in_a_terminal("stage", build.url, "--wait", "--server", server.url) as terminal:
        terminal.see_match(rf"autotest\b[^\n]*{BAR}[^\n]*failed")
        terminal.see("devserver: BadTarball: autotest")
        assert terminal.end()[0] == 1


def test_a_terminal_that_moves_no_cursor_is_given_lines(server: DevServer, build: Build) -> None:
    with in_a_terminal("stage", build.url, "--wait", "--server", server.url, TERM="dumb") as terminal:
        status, shown = terminal.end()
    assert status == 0
    assert ESCAPE not in shown
    assert "autotest: staged, " in shown


@pytest.mark.parametrize("command", ["stage", "wait"])
def test_ctrl_c_leaves_the_servers_work_alone_and_says_so(
    server: DevServer, archive: FakeArchive, build: Build, command: str
) -> None:
    with archive.holding(BACKGROUND) as reached:
        if command == "wait":
            check_success(server.download(build.url))
        arguments = ["--wait"] if command == "stage" else []
        with in_a_terminal(command, build.url, *arguments, "--server", server.url) as terminal:
            assert reached.wait(20)
            terminal.see_match(r"autotest\b[^\n]*downloading")
            terminal.press(CTRL_C)
            terminal.see(f"devserver: interrupted; the devserver goes on with {build.path}")
            assert terminal.end()[0] == 130
    check_success(server.wait_for_status(build.url))
    build.check_staged(server.static_dir)


def test_remove_asks_a_person(server: DevServer, build: Build) -> None:
    server.stage(build.url)
    for answer, exit_status in (("n\n", 1), ("\n", 1), (CTRL_C, 130)):
        with in_a_terminal("remove", build.path, "--server", server.url) as terminal:
            terminal.see(f"Remove {build.path} (staged, ")
            terminal.see("[y/N]: ")
            terminal.press(answer)
            terminal.see("nothing was removed")
            assert terminal.end()[0] == exit_status
    build.check_staged(server.static_dir)
    with in_a_terminal("remove", build.path, "--server", server.url) as terminal:
        terminal.see("[y/N]: ")
        terminal.press("y\n")
        terminal.see(f"{build.path}: removed")
        assert terminal.end()[0] == 0
    assert not (server.static_dir / build.path).exists()


NASTY = "R17-[bold]\u202e[/link]"


def test_names_cannot_do_anything_to_a_terminal(server: DevServer, archive: FakeArchive) -> None:
    build = make_build(version=NASTY).upload(archive)
    for bars in (True, False):
        wish = ["--file", "[red]\u202e*", "--file", "[/]image.*", "--clean", "--wait", "--server", server.url]
        with in_a_terminal("stage", build.url, *wish, TERM="xterm" if bars else "dumb") as terminal:
            status, shown = terminal.end()
        assert status == 1
        assert (BAR in shown) == bars
        assert "\u202e" not in shown
        if bars:  # in lines, what is missing is told in one
            assert r"file:[red]\u202e*" in shown
            assert "file:[/]image.*" in shown
        assert r"Could not find gs://chromeos-image-archive/x86-mario-release/R17-[bold]\u202e[/link]/[red]" in shown
    assert f"{build.path}".replace("\u202e", r"\u202e") in ask(server, "builds").stdout
    assert ask(server, "builds", "--json").stdout.isascii()


# Without a server


def test_the_catalogue_is_shown() -> None:
    shown = in_a_pipe("catalog")
    assert shown.returncode == 0
    assert re.search(r"(?m)^stateful +stateful\.tgz +at once$", shown.stdout)
    assert re.search(r"(?m)^autotest +autotest\.tar\.bz2 +in the background, unpacked$", shown.stdout)


def test_a_catalogue_is_checked(tmp_path: Path) -> None:
    good, wrong = tmp_path / "good.toml", tmp_path / "wrong.toml"
    good.write_text('[[artifact]]\nname = "kernel"\npattern = "kernel-*.bin"\n')
    wrong.write_text('[[artifact]]\nname = "ker\\u001b[2Jnel"\npatern = "kernel-*.bin"\n')
    checked = in_a_pipe("catalog", str(good))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.splitlines()[-1] == f"{good}: nothing is wrong with it (artifacts: 1)"
    assert in_a_pipe("--catalog", str(good), "catalog").stdout == checked.stdout
    for path, reason in ((wrong, "has no field 'patern'"), (tmp_path / "none.toml", "cannot be read")):
        refused = in_a_pipe("catalog", str(path))
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert refused.stderr.startswith(f"devserver: {path}")
        assert reason in refused.stderr
        assert ESCAPE not in refused.stderr


def test_the_demonstration_runs() -> None:
    ended = in_a_pipe("demo", "--once", "--size-mb", "20")
    assert ended.returncode == 0, ended.stderr
    assert "Publishing the build" in ended.stdout
    wrong = in_a_pipe("demo", "--size-mb", "1")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_a_demonstration_without_its_emulator_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['gcp_storage_emulator'] = None; import devserver; sys.exit(devserver.main(['demo']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "pip install gcp-storage-emulator" in ended.stderr


def test_serve_takes_the_options_before_and_behind_it(tmp_path: Path, server: DevServer) -> None:
    taken = f"cannot listen on 127.0.0.1:{server.port} (Address already in use)"
    static_dir, port = ["--static-dir", str(tmp_path / "other")], ["--port", str(server.port)]
    for arguments in (["serve", *static_dir, *port], [*static_dir, *port, "serve"], [*port, "serve", *static_dir]):
        ended = in_a_pipe(*arguments)
        assert ended.returncode == 2
        assert taken in ended.stderr
    overruled = in_a_pipe("--port", "many", "serve")
    assert "'many'" in overruled.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str) -> None:
    ended = in_a_pipe(command, "--help")
    assert ended.returncode == 0
    assert re.search(rf"(?m)^  devserver (.* )?{command}\b", ended.stdout), ended.stdout


def test_the_help_names_every_command() -> None:
    listed = in_a_pipe("--help").stdout.partition("Commands that ask a devserver:\n")[2].partition("\nWhere it ")[0]
    rows = [line for line in listed.splitlines() if line.startswith("  ")]
    assert sorted(line.split()[0] for line in rows) == sorted(COMMANDS)
    assert "..." not in listed


@pytest.mark.parametrize(
    ("words", "completed"),
    [("devserver can", {"cancel"}), ("devserver rem", {"remove"}), ("devserver stage --artifact state", {"stateful"})],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_words(shell: str, words: str, completed: set[str]) -> None:
    last = words.split()[-1]
    position = last if shell == "fish" else str(len(words.split()) - 1)
    ended = in_a_pipe(_DEVSERVER_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=position)
    assert ended.returncode == 0
    assert completed == {word for word in re.findall(r"[\w-]+", ended.stdout) if word.startswith(last)}


@pytest.mark.parametrize("command", ["status", "wait", "remove", "cancel"])
def test_the_shell_completes_builds(server: DevServer, build: Build, command: str) -> None:
    server.stage(build.url)
    words = {"_DEVSERVER_COMPLETE": "bash_complete", "COMP_WORDS": f"devserver {command} {build.path[:-2]}"}
    words["COMP_CWORD"] = "2"
    assert in_a_pipe(**words, DEVSERVER_SERVER=server.url).stdout == f"plain,{build.path}\n"
    nobody = in_a_pipe(**words, DEVSERVER_SERVER=NOBODY)
    assert (nobody.returncode, nobody.stdout.strip(), nobody.stderr) == (0, "", "")
