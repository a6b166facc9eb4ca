"""What a worker that was taken over would try: each attempt returns if it succeeds, and raises if it is refused.

Each is made in a process of its own that the worker forks, for what one does to itself is no other's trouble.
"""

from __future__ import annotations

import bz2
import ctypes
import errno
import fcntl
import io
import json
import os
import pickle
import platform
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from typing import Any, NamedTuple

from staging.decompression import decompressed
from staging.errors import BadTarball
from staging.executors import landlock
from staging.status import Event, Report, State

LIBC = ctypes.CDLL(None, use_errno=True)
_IS_X86 = platform.machine() == "x86_64"
_ATTACH, _MSG_FASTOPEN, _MPTCP, _AT_FDCWD = 16, 0x20000000, 262, -100
_NUMBERS = {"io_uring_setup": 425, "pidfd_getfd": 438, "fchmodat2": 452, "add_key": 248 if _IS_X86 else 217}


class World(NamedTuple):
    """What there is to be harmed.

    Attributes:
        inside: a directory that the worker may write to.
        outside: one that is none of its business, with a file ``secret`` and a program ``setuid``.
        neighbour: the directory of another build.
        victim: the process id of another process of the same user.
        server: that of the devserver, whose role a test has.
        port: where somebody listens for TCP that the worker need not talk to.
        socket: the path of a Unix socket that somebody listens on.
        abstract: the name of one that has no path.

    """

    inside: str
    outside: str
    neighbour: str
    victim: int
    server: int
    port: int
    socket: str
    abstract: str


class Attempt(NamedTuple):
    """One attempt, and what holds against it.

    Attributes:
        make: does it.
        landlock: the version of Landlock that is enough; 0 where none is.
        is_filtered: whether the filter of system calls is.

    """

    make: Callable[[World], object]
    landlock: int = 0
    is_filtered: bool = False


ATTEMPTS: dict[str, Attempt] = {}


def attempt(version: int = 0, is_filtered: bool = False) -> Callable[[Callable[[World], object]], None]:
    """Add an attempt to the table; called by its function's name."""

    def add(make: Callable[[World], object]) -> None:
        ATTEMPTS[make.__name__.replace("_", " ")] = Attempt(make, version, is_filtered)

    return add


def called(name: str, *arguments: Any) -> int:
    """What a function of libc, or a system call that it has none for, returns."""
    if name in _NUMBERS:
        return landlock.call(LIBC.syscall, _NUMBERS[name], *arguments)
    return landlock.call(getattr(LIBC, name), *arguments)


# Files


@attempt(landlock.RENAMES)
def read_the_file_of_tokens(world: World) -> None:
    Path(world.outside, "secret").read_bytes()


@attempt(landlock.RENAMES)
def list_a_directory(world: World) -> None:
    list(Path(world.outside).iterdir())


@attempt(landlock.RENAMES)
def read_another_build(world: World) -> None:
    Path(world.neighbour, "file").read_bytes()


@attempt(landlock.RENAMES)
def replace_a_file_of_another_build(world: World) -> None:
    mine = Path(world.inside, "mine")
    mine.write_text("evil")
    mine.replace(Path(world.neighbour, "file"))


@attempt(landlock.RENAMES)
def write_a_file(world: World) -> None:
    Path(world.outside, "written").write_text("evil")


@attempt(landlock.RENAMES)
def write_by_another_program(world: World) -> None:
    subprocess.run(["cp", "/bin/true", f"{world.outside}/copied"], check=True, capture_output=True)


@attempt(landlock.RENAMES)
def write_through_a_link(world: World) -> None:
    link = Path(world.inside, "link")
    link.unlink(missing_ok=True)
    link.symlink_to(world.outside)
    (link / "linked").write_text("evil")


@attempt(landlock.RENAMES)
def give_what_is_outside_a_name_inside(world: World) -> None:
    Path(world.inside, "stolen").unlink(missing_ok=True)
    Path(world.inside, "stolen").hardlink_to(Path(world.outside, "secret"))


@attempt(landlock.RENAMES)
def make_a_device(world: World) -> None:
    Path(world.inside, "device").unlink(missing_ok=True)
    os.mknod(f"{world.inside}/device", 0o600 | 0o020000, os.makedev(1, 1))


@attempt(landlock.RENAMES)
def make_a_pipe(world: World) -> None:
    Path(world.inside, "pipe").unlink(missing_ok=True)
    os.mkfifo(f"{world.inside}/pipe")


@attempt(landlock.RENAMES)
def run_what_it_wrote(world: World) -> None:
    program = Path(world.inside, "program")
    descriptor = os.open(program, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
    os.write(descriptor, Path("/bin/true").read_bytes())
    os.close(descriptor)
    subprocess.run([program], check=True)


@attempt(landlock.TRUNCATES)
def cut_a_file(world: World) -> None:
    os.truncate(f"{world.outside}/cut", 0)


@attempt(is_filtered=True)
def change_a_mode(world: World) -> None:
    Path(world.outside, "secret").chmod(0o644)


@attempt(is_filtered=True)
def change_a_mode_by_the_newest_call(world: World) -> None:
    called("fchmodat2", _AT_FDCWD, f"{world.outside}/secret".encode(), 0o644, 0)


@attempt(is_filtered=True)
def change_a_time(world: World) -> None:
    os.utime(f"{world.outside}/secret", (1, 1))


@attempt(is_filtered=True)
def change_an_owner(world: World) -> None:
    os.chown(f"{world.outside}/secret", os.getuid(), os.getgid())


@attempt(is_filtered=True)
def set_an_attribute(world: World) -> None:
    os.setxattr(f"{world.outside}/secret", "user.evil", b"1")


# Other processes


@attempt(landlock.SCOPES)
def signal_the_server(world: World) -> None:
    os.kill(world.server, signal.SIGCONT)


@attempt(landlock.SCOPES)
def signal_another_process_by_its_descriptor(world: World) -> None:
    signal.pidfd_send_signal(os.pidfd_open(world.victim), signal.SIGCONT)


@attempt(landlock.SCOPES)
def have_the_kernel_signal_another_process(world: World) -> None:
    Path(world.inside, "count").unlink(missing_ok=True)
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, world.victim)
    fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGUSR2)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b"x")
    _check_that_it_was_signalled(world)


def _check_that_it_was_signalled(world: World) -> None:
    """Find out whether the victim was sent the signal that it makes a file for."""
    count = Path(world.inside, "count")
    for _ in range(20):
        if count.exists():
            count.unlink()
            return
        Flag().wait(0.05)
    raise PermissionError(errno.EPERM, "it was not signalled")


@attempt(landlock.RENAMES, is_filtered=True)
def trace_the_server(world: World) -> None:
    called("ptrace", _ATTACH, world.victim, 0, 0)
    os.waitpid(world.victim, 0x40000000)
    called("ptrace", 17, world.victim, 0, 0)


@attempt(landlock.RENAMES, is_filtered=True)
def read_the_memory_of_the_server(world: World) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    try:
        called("process_vm_readv", world.victim, vector, 1, vector, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:  # it might, at another address
            raise


@attempt(landlock.RENAMES, is_filtered=True)
def take_a_descriptor_of_the_server(world: World) -> None:
    called("pidfd_getfd", os.pidfd_open(world.victim), 0, 0)


@attempt(landlock.RENAMES)
def open_the_memory_of_the_server(world: World) -> None:
    os.close(os.open(f"/proc/{world.server}/mem", os.O_RDWR))


@attempt(landlock.RENAMES)
def enter_the_root_of_the_server(world: World) -> None:
    list(Path(f"/proc/{world.server}/root").iterdir())


@attempt(landlock.RENAMES)
def open_a_descriptor_of_the_server(world: World) -> None:
    os.close(os.open(f"/proc/{world.victim}/fd/0", os.O_RDONLY))


@attempt(landlock.RENAMES)
def read_the_environment_of_the_server(world: World) -> None:
    Path(f"/proc/{world.server}/environ").read_bytes()


@attempt(is_filtered=True)
def limit_the_server(world: World) -> None:
    resource.prlimit(world.victim, resource.RLIMIT_CORE, (0, 0))


@attempt(is_filtered=True)
def slow_the_server_down(world: World) -> None:
    os.setpriority(os.PRIO_PROCESS, world.victim, 5)


@attempt(is_filtered=True)
def pin_the_server_to_one_processor(world: World) -> None:
    os.sched_setaffinity(world.victim, {0})


@attempt(is_filtered=True)
def leave_its_group(_: World) -> None:
    os.setsid()


# The network


def _connect(world: World, protocol: int = 0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", world.port))


@attempt(landlock.NETWORK)
def connect_to_another_port(world: World) -> None:
    _connect(world)


@attempt(is_filtered=True)
def connect_by_another_protocol(world: World) -> None:
    _connect(world, _MPTCP)


@attempt(is_filtered=True)
def connect_by_sending(world: World) -> None:
    with socket.socket() as client:
        client.sendto(b"x", _MSG_FASTOPEN, ("127.0.0.1", world.port))


@attempt(landlock.NETWORK, is_filtered=True)
def bind_a_port(_: World) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))


@attempt(is_filtered=True)
def listen_without_a_port(_: World) -> None:
    with socket.socket() as server:
        server.listen()


@attempt(is_filtered=True)
def receive_by_udp(_: World) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))


@attempt(is_filtered=True)
def connect_to_a_unix_socket(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world.socket)


@attempt(landlock.SCOPES, is_filtered=True)
def connect_to_an_abstract_socket(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{world.abstract}")


@attempt(is_filtered=True)
def send_to_a_unix_socket_by_half_a_pair(world: World) -> None:
    mine, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    mine.sendto(b"READY=1", f"{world.socket}.dgram")


@attempt(is_filtered=True)
def open_a_raw_socket(_: World) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


# The kernel


@attempt(is_filtered=True)
def set_up_io_uring(_: World) -> None:
    called("io_uring_setup", 4, ctypes.create_string_buffer(256))


@attempt(is_filtered=True)
def make_a_namespace(_: World) -> None:
    called("unshare", 0x10000000)


@attempt(is_filtered=True)
def make_shared_memory(_: World) -> None:
    called("shmctl", called("shmget", 0, 4096, 0o1600), 0, None)


@attempt(is_filtered=True)
def keep_a_key(_: World) -> None:
    called("add_key", b"user", b"evil", b"x", 1, -4)


@attempt()
def gain_rights_by_a_program(world: World) -> None:
    """Held by ``no_new_privs``, whatever the kernel."""
    found = subprocess.run([f"{world.outside}/setuid", "-u"], check=True, capture_output=True, text=True).stdout
    if int(found) == os.geteuid():
        raise PermissionError(errno.EPERM, "it runs as who started it")


# The jobs


def try_all(request: dict[str, Any], report: Report, _: Flag) -> None:
    """Make the attempts that the request names, and report what became of each: ``done``, or the error's name."""
    world = World(**request["world"])
    for name in request["names"]:
        outcome = _outcome(ATTEMPTS[name], world)
        report(Event("target/version", "one", State.DOWNLOADING, note=f"{name}: {outcome}"))


def _outcome(one: Attempt, world: World) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = "done"
        try:
            one.make(world)
        except subprocess.CalledProcessError:
            text = "EACCES"
        except OSError as error:
            text = errno.errorcode.get(error.errno or 0, "an error")
        except BaseException as error:
            text = repr(error)
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    text = os.read(reader, 4096).decode()
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return text or f"ended by {status}"


def _status_pipe() -> int:
    """The descriptor of the status queue: a pipe that is neither standard output nor standard error."""
    found = [int(path.name) for path in Path("/proc/self/fd").iterdir() if int(path.name) > 2]
    pipes = [one for one in found if _leads_to(one).startswith("pipe:") and _is_written_to(one)]
    (pipe,) = [one for one in pipes if _leads_to(one) not in (_leads_to(1), _leads_to(2))]
    return pipe


def _leads_to(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


def _is_written_to(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY


class Touch:
    """What runs when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def frame(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("!I", len(text) if length is None else length) + text


def a_pickle(path: str) -> bytes:
    """As ``multiprocessing.Connection.send`` would send it."""
    return frame(pickle.dumps(("event", Touch(path))))


def send_raw(request: dict[str, Any], _: Report, __: Flag) -> None:
    """Write bytes into the status queue, past all that writes messages."""
    pipe = _status_pipe()
    with suppress(BrokenPipeError):
        os.write(pipe, bytes.fromhex(request["bytes"]))
    Flag().wait(request.get("stays", 0))


def run_away(request: dict[str, Any], report: Report, _: Flag) -> None:
    """Leave a process behind, in the way of daemons; report its process id."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        with suppress(PermissionError):
            os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(writer, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)
    report(Event("target/version", "one", State.STAGING, int(os.read(reader, 20))))
    os.wait()


def multiply(request: dict[str, Any], _: Report, __: Flag) -> None:
    """Start processes without end, or so many that it is sure that nobody minds."""
    for _count in range(request["count"]):
        if os.fork() == 0:
            signal.pause()
    Flag().wait(20)


def talk(request: dict[str, Any], _: Report, __: Flag) -> None:
    """Write to the log as much as it takes, and some lines that are not its own to write."""
    os.write(2, b"[28/Nov/2026:12:00:00] DEVSERVER all is well\n")
    os.write(2, b'{"time": "now", "tag": "DEVSERVER", "message": "all is well"}\n')
    os.write(2, b"a \x1b[2J\rline\n")
    with suppress(BrokenPipeError):
        for _line in range(request["lines"]):
            os.write(2, b"x" * 999 + b"\n")


def look_around(_: dict[str, Any], report: Report, __: Flag) -> None:
    """Report which descriptors and variables there are."""
    links = [_leads_to(int(path.name)) for path in Path("/proc/self/fd").iterdir()]
    note = json.dumps([sorted(link for link in links if link), sorted(os.environ)])
    report(Event("target/version", "one", State.DOWNLOADING, note=note))


def ignore_the_end(_: dict[str, Any], report: Report, __: Flag) -> None:
    """Go on whatever is asked."""
    report(Event("target/version", "one", State.DOWNLOADING))
    Flag().wait(60)


def run_programs(request: dict[str, Any], report: Report, _: Flag) -> None:
    """Run honest programs, as staging and a build's packager do; report what each said."""
    for command in request["commands"]:
        done = subprocess.run(command, cwd=request["world"]["inside"], capture_output=True, text=True, timeout=30)
        report(Event("target/version", "one", State.STAGING, note=f"{done.returncode} {done.stdout}{done.stderr}"))


def read_files(request: dict[str, Any], report: Report, _: Flag) -> None:
    """Report what the files hold, or why they cannot be read."""
    for path in request["paths"]:
        try:
            note = Path(path).read_text()
        except OSError as error:
            note = errno.errorcode.get(error.errno or 0, "")
        report(Event("target/version", "one", State.STAGING, note=note))


def give_up_in_the_middle(_: dict[str, Any], report: Report, cancelled: Flag) -> None:
    """Have lbzip2 unpack what never ends, and give it up."""
    packed = bz2.compress(os.urandom(500_000)) * 200

    with decompressed(io.BytesIO(packed), "endless", 256 * 1024**2) as plain:  # type: ignore[arg-type]
        plain.read(100)
        report(Event("target/version", "one", State.STAGING))
        cancelled.wait(20)
        raise BadTarball("endless", "it is given up")
