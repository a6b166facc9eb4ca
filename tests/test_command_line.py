"""The command line and the start-up, as wrappers and operators use them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event as Flag

import psutil
import pytest
import requests

from devserver_settings import SETTINGS
from tests.builds import Build, make_build, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.servers import PROJECT, DevServer, cause_of, check_success, eventually


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "devserver.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env={**os.environ, **environment})


def test_help_names_every_option_and_its_variable() -> None:
    text = run("--help").stdout
    for setting in SETTINGS:
        assert f"--{setting.name}" in text
        assert setting.environment_variable in text.replace("\n", "").replace(" ", "")


def test_the_readme_names_every_option() -> None:
    rows = re.findall(r"^\| `--([a-z-]+)", (PROJECT / "README.md").read_text(), re.MULTILINE)
    assert rows == [setting.name for setting in SETTINGS]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port", "many"], {}, "'--port'"),
        (["--port", "99999"], {}, "99999 is not in the range 0<=x<=65535"),
        ([], {"DEVSERVER_PORT": "many"}, "DEVSERVER_PORT"),
        (["--stall-timeout", "0"], {}, "--stall-timeout"),
        (["--stall-timeout", "inf"], {}, "--stall-timeout"),
        (["--static-dir", "/proc"], {}, "--static-dir: /proc cannot be written"),
        (["--static-dir", "/proc/nothing/here"], {}, "--static-dir: /proc/nothing/here cannot be made"),
        (["--archive-root", "/nowhere/at/all"], {}, "--archive-root"),
        (["--catalog", "/nowhere/at/all"], {}, "/nowhere/at/all: cannot be read"),
        (["--host", "192.0.2.1", "--port", "0"], {}, "cannot listen on 192.0.2.1:0"),
        (["--logfile", "/proc/nothing/log"], {}, "--logfile: /proc/nothing/log cannot be written"),
        (["--portfile", "/proc/nothing/port"], {}, "--portfile: /proc/nothing/port cannot be written"),
        (["--executor", "celery"], {}, "--broker: a cluster needs one; give the address of a Redis"),
        (["--executor", "celery", "--broker", "somewhere"], {}, "--broker: it is no such address; give the address"),
        (["--broker", "redis://127.0.0.1"], {}, "--broker: it goes with --executor celery"),
        (["worker"], {}, "--broker: a cluster needs one"),
        (["--nonsense"], {}, "No such option"),
        (["surplus"], {}, "No such command 'surplus'"),
    ],
)
def test_a_wrong_value_is_one_clear_line_and_status_2(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    ended = run("--static-dir", str(tmp_path / "static"), *arguments, **environment)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("devserver: ")
    assert message in ended.stderr


def test_a_port_that_is_taken_is_told(server: DevServer, tmp_path: Path) -> None:
    ended = run("--port", str(server.port), "--static-dir", str(tmp_path / "other"))
    assert ended.returncode == 2
    assert ended.stderr == (
        f"devserver: --host, --port: cannot listen on 127.0.0.1:{server.port} (Address already in use)\n"
    )


def test_it_listens_within_a_second_of_its_start(start_server: StartServer) -> None:
    """By its own processor's time: what else the machine does is not its business."""
    seconds = []
    for attempt in range(3):
        server = start_server(name=f"attempt{attempt}")
        assert requests.get(f"{server.url}/check_health", timeout=10).status_code == 200
        times = psutil.Process(server.process.pid).cpu_times()
        seconds.append(times.user + times.system)
        server.close()
    assert min(seconds) < 1.0


def test_wrappers_find_port_and_process_id(start_server: StartServer, tmp_path: Path) -> None:
    pidfile, logfile = tmp_path / "pid", tmp_path / "log"
    pidfile.touch()
    server = start_server("--pidfile", str(pidfile), "--logfile", str(logfile), "--production")
    assert server.get("/index").status_code == 200
    assert int(pidfile.read_text()) == server.process.pid
    assert (tmp_path / "devserver.port").read_text() == str(server.port)
    assert f"DEVSERVER listening on http://127.0.0.1:{server.port}" in logfile.read_text()
    assert server.log == ""
    assert server.stop() == 0
    assert not pidfile.exists()
    assert not (tmp_path / "devserver.port").exists()


def test_logs_go_to_a_directory(start_server: StartServer, tmp_path: Path, build: Build) -> None:
    server = start_server("--log_dir", str(tmp_path / "logs"))
    server.stage(build.url)
    log = tmp_path / "logs" / "devserver.log"
    eventually(lambda: f"DOWNLOAD {build.path}: autotest staged" in log.read_text())  # right behind the answer
    assert "GET /download?" in (tmp_path / "logs" / "access.log").read_text()


def test_options_come_from_the_environment(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(DEVSERVER_LOG_DIR=str(tmp_path / "logs"), DEVSERVER_PRODUCTION="1")
    assert server.get("/index").status_code == 200
    assert "GET /index" in (tmp_path / "logs" / "access.log").read_text()
    assert "GET /index" not in server.log


def test_the_log_tells_a_download_in_order(server: DevServer, archive: FakeArchive, build: Build) -> None:
    server.stage(build.url)
    eventually(lambda: ": staged; " in server.log)  # right behind the answer
    lines = [line.partition(" DOWNLOAD ")[2] for line in server.log.splitlines() if " DOWNLOAD " in line]
    assert all(line.startswith(f"{build.path}: ") for line in lines)
    words = [line.removeprefix(f"{build.path}: ") for line in lines]
    assert words[0].startswith(f"download from {build.url} begins [request ")
    (half_way,) = [number for number, line in enumerate(words) if line.startswith("synchronous artifacts staged after")]
    assert words[-1].startswith("staged; ")
    assert 0 < half_way < len(words) - 1


def test_one_failure_is_one_line_of_the_log(server: DevServer, archive: FakeArchive, build: Build) -> None:
    archive.remove(build.bucket, f"{build.path}/autotest.tar.bz2")
    server.download(build.url)
    eventually(lambda: "failed: " in server.log)
    (line,) = [line for line in server.log.splitlines() if "Could not find" in line]
    assert f"{build.path}: failed: ObjectNotFound: Could not find {build.url}/autotest.tar.bz2; " in line


def test_an_archive_that_cannot_be_listed_is_in_the_log_at_once(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    archive.fail_always("list", Fault(status=503))
    server.ask("/download", archive_url=build.url)
    eventually(lambda: f"{build.path}: listing the build failed: Could not read {build.url}" in server.log)


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_any_moment_of_its_start(
    start_server: StartServer, moment: float, end: signal.Signals
) -> None:
    server = start_server()
    eventually(lambda: "DEVSERVER devserver " in server.log)
    Flag().wait(moment)
    server.process.send_signal(end)
    assert server.process.wait(20) == 0  # ten seconds, on a machine that does nothing else
    assert "Traceback" not in server.log


def test_the_log_of_a_start_and_an_end_is_in_plain_words(server: DevServer) -> None:
    url = server.url
    server.stop()
    lines = [line.partition("DEVSERVER ")[2] for line in server.log.splitlines() if "DEVSERVER " in line]
    assert lines[1].startswith("workers are confined by ")
    assert lines[2:] == [f"listening on {url}", "SIGTERM was received", "stopping", "stopped"]
    assert "ENGINE" not in server.log


def test_a_stale_portfile_is_not_read(server: DevServer, tmp_path: Path) -> None:
    _ = server.port
    server.kill()
    (tmp_path / "devserver.port").write_text("1")
    server.process = server._started()
    eventually(lambda: not (tmp_path / "devserver.port").exists() or server.port != 1)
    eventually(lambda: (tmp_path / "devserver.port").exists())
    assert server.get("/index").status_code == 200


def test_builds_of_a_directory_archive_are_staged(start_server: StartServer, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    build = make_build().write(root)
    server = start_server("--archive-root", str(root))
    url = f"file://{root}/{build.path}"
    server.stage(url)
    build.check_staged(server.static_dir)
    assert server.download(f"file://{tmp_path}/elsewhere/x").status_code == 400


def test_a_lab_brings_its_own_catalogue(start_server: StartServer, tmp_path: Path, archive: FakeArchive) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        '[[artifact]]\nname = "kernel"\npattern = "kernel-*.bin"\nsynchronous = true\ndestination = "{target}/kernel"\n'
        '[[artifact]]\nname = "modules"\npattern = "modules.tgz"\nunpack = true\nexcludes = ["lib/debug"]\n'
    )
    archive.put("lab-builds", "boards/7/kernel-6.1.bin", b"a kernel")
    files = {"lib/modules/a.ko": b"a", "lib/debug/a.debug": b"big"}
    archive.put("lab-builds", "boards/7/modules.tgz", tarball(files, "gz"))
    server = start_server("--catalog", str(catalogue))
    server.stage("gs://lab-builds/boards/7")
    assert server.get("/static/boards/7/boards/kernel").content == b"a kernel"
    assert server.get("/static/boards/7/lib/modules/a.ko").content == b"a"
    assert server.get("/static/boards/7/lib/debug/a.debug").status_code == 404


PACKAGER = b"""#!/usr/bin/env python3
import pathlib, sys
assert sys.argv[1] == "upload" and sys.argv[3] == "--all", sys.argv
repository = pathlib.Path(sys.argv[2].removeprefix("--repository="))
(repository / "packages.checksum").write_text("made")
sys.exit(STATUS)
"""


def put_autotest_without_packages(archive: FakeArchive, build: Build, status: int) -> None:
    """Replace the build's autotest by one whose packager makes the packages, and ends with ``status``."""
    script = PACKAGER.replace(b"STATUS", b"%d" % status)
    content = tarball({"autotest/utils/packager.py": script}, mode=0o755)
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", content)


def test_a_builds_own_packager_is_not_run_unless_the_operator_says_so(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    put_autotest_without_packages(archive, build, 0)
    server.stage(build.url)
    assert server.get(f"/static/{build.path}/autotest/packages/packages.checksum").status_code == 404
    eventually(lambda: "autotest: holds no packages/packages.checksum, and --run-packager is off" in server.log)


@pytest.mark.parametrize("status", [0, 3])
def test_a_builds_own_packager_is_run_when_the_operator_says_so(
    start_server: StartServer, archive: FakeArchive, build: Build, status: int
) -> None:
    put_autotest_without_packages(archive, build, status)
    server = start_server("--run-packager")
    check_success(server.download(build.url))
    answer = server.wait_for_status(build.url)
    if status:
        assert cause_of(answer).startswith("PackagerFailed: the packager of autotest failed: it ended with status 3")
        return
    check_success(answer)
    for path in ("autotest/packages/packages.checksum", "autotest/packages.checksum"):
        assert server.get(f"/static/{build.path}/{path}").content == b"made"


@pytest.mark.parametrize("command", ["catalog", "catalog --json", "--help", "--version", "nginx-config"])
def test_an_output_that_cannot_be_written_is_one_line_and_status_1(command: str, tmp_path: Path) -> None:
    arguments = [sys.executable, str(PROJECT / "devserver.py"), "--static-dir", str(tmp_path), *command.split()]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert ended.returncode == 1
    assert ended.stderr == "devserver: the standard output cannot be written: No space left on device\n"

    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")  # nobody wants to know


# Kubernetes sets this for a service of that name.
SERVICE = {"DEVSERVER_PORT": "tcp://10.0.0.1:8080", "DEVSERVER_MAX_BYTES": "much"}


def test_a_command_minds_only_what_it_uses_of_the_environment() -> None:
    assert run("catalog", **SERVICE).returncode == 0
    assert "cannot be reached" in run("builds", "--server", "http://127.0.0.1:1", **SERVICE).stderr
    assert "DEVSERVER_CATALOG" in run("catalog", DEVSERVER_CATALOG="/").stderr
    for command in ([], ["serve"], ["gc"], ["worker"], ["nginx-config"]):
        ended = run(*command, **SERVICE)
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1
        assert "'DEVSERVER_PORT'" in ended.stderr
