"""A devserver that is process 1, as in a container: nobody but it reaps what is left there, and signals end it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.builds import make_build
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, check_success, eventually

_AS_ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
IN_A_NAMESPACE = ("unshare", *_AS_ROOT, "--pid", "--fork", "--mount-proc", "--kill-child")


class Container(DevServer):
    """A devserver that is process 1 of its own process namespace."""

    @property
    def first(self) -> psutil.Process:
        """The devserver itself: ``process`` is the program that made its namespace."""
        (child,) = eventually(psutil.Process(self.process.pid).children)
        return child

    def stop(self, timeout: float = 10.0, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as the engine of containers would; its exit status."""
        self.first.send_signal(number)
        return self.process.wait(timeout)


@pytest.fixture
def container(tmp_path: Path, archive: FakeArchive) -> Iterator[Container]:
    """A devserver in a container, which is starting."""
    container = Container(tmp_path, environment={"STORAGE_EMULATOR_HOST": archive.url}, wrapper=IN_A_NAMESPACE)
    yield container
    container.close()


@pytest.fixture
def server(container: Container) -> Container:
    """The same, once it listens."""
    assert container.port
    return container


def seen(process: psutil.Process) -> tuple[str, str]:
    """Its name and its state, both empty where it has ended meanwhile."""
    try:
        return process.name(), process.status()
    except psutil.NoSuchProcess:
        return "", ""


def below(server: Container) -> list[psutil.Process]:
    return server.first.children(recursive=True)


def zombies(server: Container) -> list[psutil.Process]:
    return [one for one in below(server) if seen(one)[1] == psutil.STATUS_ZOMBIE]


def programs(server: Container, *names: str) -> list[psutil.Process]:
    return [one for one in below(server) if seen(one)[0] in names]


def test_the_programs_of_a_killed_worker_neither_survive_it_nor_stay_as_zombies(
    server: Container, archive: FakeArchive
) -> None:
    build = make_build(scale=30).upload(archive)
    with archive.holding("autotest.tar.bz2", after=2_000_000) as reached:
        check_success(server.download(build.url))
        assert reached.wait(10)
        (program,) = eventually(lambda: programs(server, "lbzip2"))
        worker = program.parent()
        assert worker is not None
        worker.kill()
        answer = server.wait_for_status(build.url)
    assert cause_of(answer).startswith("WorkerDied: worker killed by SIGKILL while staging ")
    assert not psutil.pid_exists(program.pid)
    eventually(lambda: zombies(server) == [])


@pytest.mark.parametrize("artifact", ["test_suites", "autotest"])  # the server's own work, and a worker's
def test_a_decompressor_that_is_killed_is_a_cause_and_no_zombie(
    server: Container, archive: FakeArchive, artifact: str
) -> None:
    build = make_build(scale=30)
    build.objects["test_suites.tar.bz2"] = build.objects["autotest.tar.bz2"]
    build.upload(archive)
    with archive.holding(f"{artifact}.tar.bz2", after=2_000_000) as reached:
        asked = server.ask("/stage", archive_url=build.url, artifacts=artifact)
        assert reached.wait(10)
        (program,) = eventually(lambda: programs(server, "lbzip2"))
        program.kill()
    answer = asked.result(30)
    assert (answer.status_code, "BadTarball: " in cause_of(answer)) == (500, True), cause_of(answer)
    assert not psutil.pid_exists(program.pid)
    eventually(lambda: zombies(server) == [])
    check_success(server.get("/stage", archive_url=build.url, artifacts=artifact))


def test_orphans_of_others_are_reaped(server: Container) -> None:
    inside = ("nsenter", "--target", str(server.first.pid), *(("--user",) if _AS_ROOT else ()), "--pid")
    orphan = "setsid sh -c 'sleep 0.3' >/dev/null & exit 0"
    subprocess.run([*inside, "sh", "-c", orphan], check=True, timeout=10)
    eventually(lambda: programs(server, "sh", "sleep"))
    eventually(lambda: programs(server, "sh", "sleep") == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_as_it_is_told(server: Container, number: signal.Signals) -> None:
    assert server.stop(number=number) == 0


def test_a_signal_that_comes_while_it_starts_ends_it_too(container: Container) -> None:
    # The kernel drops a signal to process 1 until that says what to do with it.
    eventually(lambda: signal.SIGTERM in caught(container.first.pid))
    assert container.stop() == 0


def caught(process_id: int) -> set[signal.Signals]:
    """The signals that a process has handlers for."""
    status = Path(f"/proc/{process_id}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}
