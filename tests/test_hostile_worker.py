"""A worker that was taken over: what it tries is refused, and would succeed if nothing held it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from time import monotonic
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from artifacts.bounds import JobBounds
from artifacts.job import StageRequest, StagingOptions
from staging.errors import BadTarball, Cancelled, DevServerError, WorkerDied
from staging.executors import landlock, reach, system_calls
from staging.executors.confinement import Confinement, what_holds
from staging.executors.process import Bounds, ProcessExecutor
from staging.executors.status_queue import LARGEST
from staging.layout import BuildPlaces
from staging.locks import FileLock
from staging.messages import Expected
from staging.status import Event
from staging.usage import LastUse, hold_as_read, is_being_read
from tests import hostile_worker
from tests.hostile_worker import ATTEMPTS, World, a_pickle, frame
from tests.servers import PROJECT, eventually

pytestmark = pytest.mark.skipif(
    landlock.version() < landlock.NEWEST or not system_calls.is_there(),
    reason="this machine has not all that holds a worker",
)
BUILD = "target/version"
EVENT = {"build": BUILD, "artifact": "one", "state": "downloading"}
CAUSE = {"kind": "BadTarball", "args": ["x", "y"]}
ALWAYS_HELD = "gain rights by a program"  # by no_new_privs, which is older than all else
OF_THE_JOB = Expected(BUILD, frozenset({"one"}))
# Versions of Landlock that kernels have, with and without the filter of system calls: 0 is no Landlock.
KERNELS = [(version, is_filtered) for version in (0, 2, 3, 4, 5, 6, 7) for is_filtered in (True, False)]
_COUNTING = (
    "import pathlib, signal, sys, time\nsignal.signal(signal.SIGUSR2, lambda *_: pathlib.Path(sys.argv[1]).touch())\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    """A static directory with two builds, what else a machine has, and who listens there."""
    options = StagingOptions(folder / "static")
    inside, outside, neighbour = options.static_dir / BUILD, folder / "outside", options.static_dir / "target" / "other"
    for directory in (inside, outside, neighbour):
        directory.mkdir(parents=True)
    (outside / "secret").write_text("what nobody should know")
    (outside / "cut").write_text("something")
    (neighbour / "file").write_text("a neighbour's")
    shutil.copy("/usr/bin/id", outside / "setuid")
    if os.geteuid() == 0:
        os.chown(outside / "setuid", 65534, 65534)
    (outside / "setuid").chmod(0o4755)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        local, abstract = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        datagrams = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        local.bind(str(outside / "socket"))
        abstract.bind(f"\0{folder.name}-{os.getpid()}")
        datagrams.bind(str(outside / "socket.dgram"))
        for server in (local, abstract):
            server.listen(100)
        counting = [sys.executable, "-c", f"{_COUNTING}print(flush=True)\nwhile True: time.sleep(60)"]
        victim = subprocess.Popen([*counting, str(inside / "count")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert victim.stdout
        victim.stdout.readline()
        places = (str(inside), str(outside), str(neighbour))
        yield World(
            *places,
            victim.pid,
            os.getpid(),
            tcp.getsockname()[1],
            local.getsockname(),
            abstract.getsockname()[1:].decode(),
        )
        victim.kill()
        victim.communicate()


@pytest.fixture(scope="module")
def lock(folder: Path) -> Iterator[FileLock]:
    lock = FileLock.acquire(folder / "lock", Flag())
    yield lock
    lock.release()


class Hostile:
    """Workers that do as they like, bounded as those of a devserver are."""

    def __init__(self, static_dir: Path, world: World, lock: FileLock) -> None:
        self._world = world
        self._lock = lock
        self._bounds = Bounds()
        self.request = StageRequest(f"gs://bucket/{BUILD}", [], StagingOptions(static_dir)).to_json()
        machine = Confinement(readable=reach.readable(), runnable=reach.runnable())
        coverage = (PROJECT,) if "COVERAGE_PROCESS_CONFIG" in os.environ else ()
        usual = JobBounds(machine, coverage)(self.request)
        self.confined = usual._replace(expected=OF_THE_JOB)
        self._executor = ProcessExecutor(["tests.hostile_worker"], 10.0, lambda _: self._bounds)

    def run(
        self, job: Any, bounds: Bounds, cancelled: Flag | None = None, on_event: Any = None, **more: Any
    ) -> list[Event]:
        """The events of a job."""
        self._bounds = bounds
        events: list[Event] = []
        request = {**self.request, "world": self._world._asdict(), **more}
        self._executor.run(job, request, on_event or events.append, self._lock, cancelled or Flag())
        return events

    def outcomes(self, bounds: Bounds) -> Mapping[str, str]:
        """What became of every attempt."""
        events = self.run(hostile_worker.try_all, bounds, names=list(ATTEMPTS))
        return dict(event.note.split(": ", 1) for event in events)

    def on(self, version: int, is_filtered: bool) -> Bounds:
        """The bounds on a kernel that has so much."""
        confinement = replace(self.confined.confinement, landlock_version=version, has_filter=is_filtered)
        return self.confined._replace(confinement=confinement)

    def close(self) -> None:
        """End it."""
        self._executor.stop()


@pytest.fixture(scope="module")
def hostile(folder: Path, world: World, lock: FileLock) -> Iterator[Hostile]:
    hostile = Hostile(folder / "static", world, lock)
    yield hostile
    hostile.close()


@pytest.fixture(scope="module")
def confined(hostile: Hostile) -> Mapping[str, str]:
    """What became of every attempt of a confined worker."""
    return hostile.outcomes(hostile.confined)


@pytest.fixture(scope="module")
def free(hostile: Hostile, confined: Mapping[str, str]) -> Mapping[str, str]:
    """What became of them where nothing holds the worker: after the others, for these do harm."""
    return hostile.outcomes(Bounds())


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_worker_is_refused(confined: Mapping[str, str], name: str) -> None:
    assert confined[name] in ("EPERM", "EACCES", "EXDEV", "ENOSYS")


@pytest.mark.parametrize("name", [name for name in ATTEMPTS if name != ALWAYS_HELD])
def test_it_would_succeed_if_nothing_held_it(free: Mapping[str, str], name: str) -> None:
    assert free[name] == "done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program run as somebody else")
def test_a_program_would_gain_rights_if_nothing_held_it(world: World) -> None:
    program = [f"{world.outside}/setuid", "-u"]
    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout == "65534\n"


@pytest.mark.parametrize(("version", "is_filtered"), KERNELS)
def test_older_kernels_hold_what_the_table_says(hostile: Hostile, version: int, is_filtered: bool) -> None:
    outcomes = hostile.outcomes(hostile.on(version, is_filtered))
    held = {name for name, outcome in outcomes.items() if outcome != "done"}
    assert held == {name for name in ATTEMPTS if _is_held(name, version, is_filtered)}


def _is_held(name: str, version: int, is_filtered: bool) -> bool:
    one = ATTEMPTS[name]
    always = name == ALWAYS_HELD
    # Where Landlock does not scope signals, the filter lets a worker signal itself alone.
    signals = one.landlock == landlock.SCOPES and is_filtered
    return always or signals or 0 < one.landlock <= version or (one.is_filtered and is_filtered)


BAD: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a pickle": (lambda folder: a_pickle(f"{folder}/unpickled"), "what is no JSON"),
    "too large": (lambda _: frame(b"", LARGEST + 1), f"a message of {LARGEST + 1} bytes"),
    "too deep": (lambda _: frame(b"[" * 100_000), "what is no JSON"),
    "no pair": (lambda _: frame(b'["event"]'), "what is no kind with its content"),
    "no kind": (lambda _: frame(b'["exec", {}]'), "a message of no known kind"),
    "another build": (lambda _: _event(build="target/other"), "an event of another build"),
    "another artifact": (lambda _: _event(artifact="two"), "an event of an artifact that its job does not have"),
    "no state": (lambda _: _event(state="healthy"), "an event with a wrong state"),
    "a number that is none": (lambda _: _event(bytes_done=True), "an event with a wrong bytes_done"),
    "a number below zero": (lambda _: _event(bytes_total=-1), "an event with a wrong bytes_total"),
    "far too much": (lambda _: _event(bytes_fetched=2**62), "an event with a wrong bytes_fetched"),
    "infinity": (lambda _: frame(b'["event", {"bytes_done": Infinity}]'), "what is no JSON"),
    "an endless number": (lambda _: frame(b"1" * 100_000), "what is no"),
    "a retry of its own": (lambda _: _event(retry="x" * 50), "an event with a wrong retry"),
    "a cause of the web": (lambda _: _failed(kind="TokenNeeded"), "a cause of a kind that no job has"),
    "a cause of Python": (lambda _: _failed(kind="SystemExit"), "a cause of a kind that no job has"),
    "too few arguments": (lambda _: _failed(args=["x"]), "a cause that is no BadTarball"),
    "other arguments": (lambda _: _failed(args=["x", {}]), "a cause that is no BadTarball"),
}


def _event(**changes: Any) -> bytes:
    return frame(json.dumps(["event", {**EVENT, **changes}]).encode())


def _failed(**changes: Any) -> bytes:
    return frame(json.dumps(["failed", {**CAUSE, **changes}]).encode())


@pytest.mark.parametrize("name", BAD)
def test_a_message_that_no_worker_sends_ends_it(hostile: Hostile, folder: Path, name: str) -> None:
    made, reason = BAD[name]
    events: list[Event] = []
    with pytest.raises(WorkerDied, match=f"worker sent {reason}.* and was killed"):
        hostile.run(
            hostile_worker.send_raw, hostile.confined, on_event=events.append, bytes=made(folder).hex(), stays=30
        )
    assert events == []
    assert not (folder / "unpickled").exists()


def test_what_was_sent_is_what_an_honest_worker_could_have_sent_otherwise(hostile: Hostile, tmp_path: Path) -> None:
    pickle.loads(a_pickle(f"{tmp_path}/unpickled")[4:])
    assert (tmp_path / "unpickled").exists()
    sent = (_event() + _event(artifact="one") + frame(b'["done", null]')).hex()
    assert len(hostile.run(hostile_worker.send_raw, hostile.confined, bytes=sent)) == 2
    forged = (_event(build="target/other", artifact="two") + frame(b'["done", null]')).hex()
    assert len(hostile.run(hostile_worker.send_raw, Bounds(), bytes=forged)) == 1


def test_a_text_of_a_worker_stays_in_its_line(hostile: Hostile) -> None:
    evil = "x\n[28/Nov/2026:12:00:00] DEVSERVER all is well\x1b[2J"
    sent = _event(note=evil) + _event(state="failed", cause={"kind": "BadTarball", "args": [evil, evil]})
    sent += _failed(kind="InternalFailure", args=[evil, f"Traceback\n{evil}"])
    events: list[Event] = []
    with pytest.raises(DevServerError) as raised:
        hostile.run(hostile_worker.send_raw, hostile.confined, on_event=events.append, bytes=sent.hex())
    texts = [events[0].note, str(events[1].cause), str(raised.value)]
    assert not [text for text in texts if not text.isprintable()]
    assert "\n[" not in raised.value.args[1]


def test_half_a_message_is_silence(hostile: Hostile, folder: Path, lock: FileLock) -> None:
    del folder, lock
    with pytest.raises(WorkerDied, match=r"worker (exited with status 0|sent .* and was killed)"):
        hostile.run(hostile_worker.send_raw, hostile.confined, bytes=frame(b"[", 1000).hex())


@pytest.mark.parametrize("is_confined", [True, False])
def test_no_process_outlives_its_worker(hostile: Hostile, is_confined: bool) -> None:
    bounds = hostile.confined if is_confined else Bounds()
    (event,) = hostile.run(hostile_worker.run_away, bounds)
    eventually(lambda: not psutil.pid_exists(event.bytes_done), 5)


def test_a_worker_that_multiplies_is_ended(hostile: Hostile) -> None:
    with pytest.raises(WorkerDied, match="worker killed by SIGKILL"):
        hostile.run(hostile_worker.multiply, hostile.confined, count=400)
    hostile.run(hostile_worker.talk, hostile.confined, lines=0)  # and the next one is none the worse


def test_the_log_has_what_is_a_workers_and_not_too_much_of_it(
    hostile: Hostile, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile.run(hostile_worker.talk, hostile.confined, lines=100_000)
    said = capfd.readouterr().err
    assert len(said) < 600_000
    lines = said.splitlines()
    assert "WORKER [28/Nov/2026:12:00:00] DEVSERVER all is well" in lines
    assert 'WORKER {"time": "now", "tag": "DEVSERVER", "message": "all is well"}' in lines
    assert "a \\x1b[2J\\rline" in lines
    assert lines[-1].startswith("WORKER said more than ")


def test_a_worker_has_no_descriptor_and_no_variable_that_it_does_not_need(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, folder: Path, world: World, lock: FileLock
) -> None:
    monkeypatch.setenv("DEVSERVER_BROKER", "redis://:secret@127.0.0.1/0")
    other = Hostile(folder / "static", world, lock)
    try:
        (event,) = other.run(hostile_worker.look_around, other.confined)
    finally:
        other.close()
    links, variables = json.loads(event.note)
    kinds = [link.partition(":")[0] for link in links if not link.startswith("/proc/")]
    # Standard output and error, and the status queue; the lock; nothing to read.
    assert sorted(kinds) == sorted(["/dev/null", "pipe", "pipe", "pipe", str(folder / "lock")])
    assert not [name for name in variables if name.startswith("DEVSERVER_")]


def test_a_worker_that_does_not_stop_when_told_is_ended(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("staging.executors.process._TIME_TO_CANCEL", 0.5)
    cancelled = Flag()
    began = monotonic()
    with pytest.raises(Cancelled):
        hostile.run(hostile_worker.ignore_the_end, hostile.confined, cancelled, lambda _: cancelled.set())
    assert monotonic() - began < 20


def test_workers_die_with_their_server(folder: Path, world: World, lock: FileLock) -> None:
    other = Hostile(folder / "static", world, lock)
    seen = Flag()
    ended: list[BaseException] = []

    def call() -> None:
        try:
            other.run(hostile_worker.ignore_the_end, other.confined, None, lambda _: seen.set())
        except WorkerDied as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert seen.wait(20)
    (fork_server,) = [one for one in psutil.Process().children() if "forkserver" in one.cmdline() and one.children()]
    (worker,) = fork_server.children()
    os.kill(fork_server.pid, signal.SIGKILL)
    thread.join(20)
    assert [str(error) for error in ended] == ["worker ended with what it was forked from"]
    eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    other.close()


# Honest programs, which others had trouble with behind such bounds: what they want of the kernel in passing.
THREADS = "import threading\nfor _ in range(9): threading.Thread(target=print).start()"
PROGRAMS = (
    ["sh", "-c", "printf hello > plain && lbzip2 -c plain | lbzip2 -d -c"],
    ["sh", "-c", "printf hello > plain && xz -c plain | xz -d -c --threads=0"],
    ["sh", "-c", "mkdir -p some && printf hello > some/file && tar -cf some.tar some && tar -tf some.tar"],
    [sys.executable, "-I", "-c", THREADS],
    ["getent", "hosts", "localhost"],
)
# What a packager does, and nothing else does here: it sets modes and times, and runs what the build brought.
PACKAGER = (
    ["sh", "-c", "rm -rf other && mkdir other && tar -C other -xpf some.tar && cat other/some/file"],
    [
        "sh",
        "-c",
        "printf hello > plain; install -m 755 plain a; cp -p plain b && chmod 600 b && touch -d @1 b",
    ],
    ["sh", "-c", "umask 022; cp /bin/echo program && ./program hello"],
)


@pytest.mark.skipif(shutil.which("lbzip2") is None or shutil.which("xz") is None, reason="they are not installed")
def test_honest_programs_run(hostile: Hostile) -> None:
    events = hostile.run(hostile_worker.run_programs, hostile.confined, commands=PROGRAMS)
    assert [event.note[:2] for event in events] == ["0 "] * len(PROGRAMS), [event.note for event in events]
    assert events[0].note == events[1].note == "0 hello"


def test_a_packager_may_set_modes_which_does_nothing(hostile: Hostile) -> None:
    hostile.run(hostile_worker.run_programs, hostile.confined, commands=PROGRAMS[2:3])
    confinement = replace(hostile.confined.confinement, runs_what_it_writes=True)
    events = hostile.run(
        hostile_worker.run_programs, hostile.confined._replace(confinement=confinement), commands=PACKAGER
    )
    assert [event.note[:2] for event in events] == ["0 "] * len(PACKAGER), [event.note for event in events]
    events = hostile.run(hostile_worker.run_programs, hostile.confined, commands=PACKAGER[2:])
    assert "Permission denied" in events[0].note or "not permitted" in events[0].note


def test_a_file_that_may_be_read_may_be_a_link(hostile: Hostile, tmp_path: Path) -> None:
    """As ``/etc/resolv.conf`` is one into ``/run``."""
    for name in ("resolver", "beside"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "resolver")
    readable = (*hostile.confined.confinement.readable, str(tmp_path / "link"))
    confinement = replace(hostile.confined.confinement, readable=readable)
    paths = [str(tmp_path / name) for name in ("link", "resolver", "beside")]
    events = hostile.run(hostile_worker.read_files, hostile.confined._replace(confinement=confinement), paths=paths)
    assert [event.note for event in events] == ["resolver", "resolver", "EACCES"]


def test_an_area_that_a_link_leads_away_from_the_static_directory_is_none(hostile: Hostile, world: World) -> None:
    link = Path(world.inside).parent / "away"
    link.symlink_to(world.outside)
    request = {**hostile.request, "archive_url": "gs://bucket/target/away"}
    writable = JobBounds(Confinement())(request).confinement.writable
    assert [Path(path).name for path in writable] == [quote("target/away", safe="")]


def test_secrets_among_what_workers_may_read_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    inside, outside = tmp_path / "lib" / "tokens", tmp_path / "tokens"
    assert reach.exposed([inside, outside], [str(tmp_path / "lib")]) == [inside]


@pytest.mark.parametrize(
    ("variables", "more"),
    [
        ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9023"}, {9023}),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, {3128}),
        ({"https_proxy": "proxy.example:3129"}, {3129}),
        ({"GCE_METADATA_HOST": "169.254.169.254:8080"}, {8080}),
        ({"STORAGE_EMULATOR_HOST": "http://[::1"}, set()),
    ],
)
def test_the_ports_are_those_of_the_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: Mapping[str, str], more: set[int]
) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    for name in (
        "STORAGE_EMULATOR_HOST",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert reach.archive_ports() == {53, 80, 443} | more


def test_credentials_say_what_else_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = tmp_path / "credentials.json"
    source = {"file": str(tmp_path / "subject-token")}
    named.write_text(json.dumps({"token_url": "https://sts.example:8443/v1/token", "credential_source": source}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(named))
    assert set(reach.credentials()) == {str(named), source["file"]}
    assert 8443 in reach.archive_ports()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_credentials_that_are_none_name_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials.json").write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    assert list(reach.credentials()) == [str(tmp_path / "credentials.json")]


def test_a_build_in_a_directory_is_read_there_and_takes_no_network(tmp_path: Path) -> None:
    static, archive = tmp_path / "static", tmp_path / "archive"
    (archive / BUILD).mkdir(parents=True)
    request = StageRequest(f"file://{archive}/{BUILD}", [], StagingOptions(static, (archive,))).to_json()
    confinement = JobBounds(Confinement())(request).confinement
    assert (confinement.readable, confinement.ports) == ((str(archive),), ())
    own = StageRequest(f"file://{static}/{BUILD}", [], StagingOptions(static, (static,))).to_json()
    assert JobBounds(Confinement())(own).confinement.readable == (str(static / BUILD),)


def test_the_server_follows_no_link_that_a_worker_left_for_it(tmp_path: Path) -> None:
    places = BuildPlaces(tmp_path / "static", BUILD)
    places.records.mkdir(parents=True)
    places.manifest.touch()
    target = tmp_path / "outside"
    places.last_use.symlink_to(target)
    LastUse(places.static_dir).note(BUILD)
    assert not target.exists()
    assert hold_as_read(places) is None
    assert not is_being_read(places)


@pytest.mark.parametrize("version", [5, 7])
def test_a_program_that_is_given_up_ends_also_where_it_cannot_be_killed(hostile: Hostile, version: int) -> None:
    limits: list[int] = []
    looked = Flag()

    def look(_: Event) -> None:
        programs = [one for one in psutil.Process().children(recursive=True) if one.name() == "lbzip2"]
        limits.extend(one.rlimit(psutil.RLIMIT_DATA)[1] for one in programs)
        looked.set()

    with pytest.raises(BadTarball, match="it is given up"):
        hostile.run(hostile_worker.give_up_in_the_middle, hostile.on(version, True), looked, look)
    assert [0 < limit < 4 * 1024**3 for limit in limits] == [True]


@pytest.mark.parametrize("is_missing", [True, False])
def test_what_a_machine_has_is_found_out(is_missing: bool) -> None:
    """In an interpreter of its own: pyseccomp is imported once."""
    script = (
        f"import sys\nif {is_missing}: sys.modules['pyseccomp'] = None\nfrom staging.executors import system_calls\n"
    )
    script += "sys.exit(not system_calls.is_there())"
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False).returncode == int(is_missing)


def test_what_a_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert what_holds() == f"workers are confined by Landlock {landlock.version()}; not held: nothing"
    monkeypatch.setattr(landlock, "version", lambda: 3)
    monkeypatch.setattr(system_calls, "is_there", lambda: False)
    told = what_holds()
    assert "Landlock 3; not held: TCP ports" in told
    assert "system calls (no pyseccomp, no libseccomp, or none in the kernel)" in told
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert what_holds().startswith("workers are confined by no Landlock; not held: files")
