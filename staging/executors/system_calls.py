"""seccomp: the system calls that a worker may not make, for what Landlock does not cover.

What is not named here is allowed: a worker starts programs of the machine, and of the build where it runs its packager.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from staging.executors import landlock

try:
    import pyseccomp as seccomp
except (ImportError, RuntimeError, OSError, AttributeError):  # it, or the library that it loads, is not there
    seccomp = None

# What is told of a worker to the kernel, or of the machine: nothing that unpacking takes.
_FORBIDDEN = """
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd perf_event_open bpf
    userfaultfd move_pages migrate_pages lookup_dcookie
    io_uring_setup io_uring_enter io_uring_register io_setup io_submit
    mount umount umount2 pivot_root chroot unshare setns open_tree move_mount fsopen fsconfig fsmount fspick
    mount_setattr name_to_handle_at open_by_handle_at fanotify_init fanotify_mark
    kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl quotactl_fd
    syslog iopl ioperm modify_ldt vhangup nfsservctl personality settimeofday clock_settime clock_adjtime adjtimex
    sethostname setdomainname
    keyctl add_key request_key
    shmget shmat shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    setpriority ioprio_set sched_setscheduler sched_setparam sched_setattr
    setsid setpgid
    bind listen accept accept4
"""
# Modes are given when a file is made, and so are owners; times are set of what is open.
_METADATA = """
    chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
"""
_NAMESPACES = (0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_FAST_OPEN = 0x20000000  # MSG_FASTOPEN connects, and Landlock does not see it
_TYPE = 0xF  # of a socket, beside its flags
_LOCAL_PAIR_TYPES = (socket.SOCK_DGRAM, socket.SOCK_RAW)  # which could send to any address
_INPUT_OF_A_TERMINAL, _CONSOLE = 0x5412, 0x541C  # ioctl: type what somebody else's shell reads
_SET_FLAGS, _SET_ATTRIBUTES = 0x40086602, 0x401C5820  # ioctl: as chattr does
_SET_OWNERS = (0x8901, 0x8902)  # ioctl: who is sent signals of a descriptor
_F_SETOWN, _F_SETOWN_EX = 8, 15
_SET_DEATH_SIGNAL, _SET_SECCOMP, _MODE_FILTER = 1, 22, 2  # prctl
_INSTRUCTION = 8  # bytes
_TCP, _UDP = 6, 17
# The numbers of system calls are the same on all machines from here on; what came later than this was written for is
# not there for a worker: neither fchmodat2 nor setxattrat. Beyond them, x86-64 has others.
_FIRST_UNKNOWN, _LAST_UNKNOWN = 452, 511

MISSING = "no pyseccomp, no libseccomp, or none in the kernel"


def is_there() -> bool:
    """Whether there is what makes such filters, and a kernel that takes them."""
    return seccomp is not None and _kernel_filters()


@functools.lru_cache(maxsize=1)
def _kernel_filters() -> bool:
    """Whether the kernel would take a filter: it looks for one at no address then."""
    try:
        landlock.call(landlock.LIBC.prctl, _SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    except OSError as error:
        return error.errno == errno.EFAULT
    return False


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@functools.lru_cache(maxsize=2)
def prepared(ignores_metadata: bool) -> bytes:
    """The filter as the kernel takes it; made once, before workers are forked: to make it takes milliseconds.

    ``ignores_metadata`` says that changes of modes, owners and times do nothing, and succeed: for programs that
    insist on them.
    """
    calls = seccomp.SyscallFilter(seccomp.ALLOW)
    calls.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)  # of 32 bits, where everything has other numbers
    denied = seccomp.ERRNO(errno.EPERM)
    _deny(calls, denied, _FORBIDDEN.split())
    _deny(calls, seccomp.ERRNO(0) if ignores_metadata else denied, _METADATA.split())
    for name, *conditions in _conditions():
        _add(calls, denied, name, *conditions)
    # Times of what is open, and no path.
    _add(calls, seccomp.ERRNO(0) if ignores_metadata else denied, "utimensat", seccomp.Arg(1, seccomp.NE, 0))
    _add(calls, seccomp.ERRNO(errno.ENOSYS), "clone3")  # whose flags lie in memory; libc takes clone then
    for number in range(_FIRST_UNKNOWN, _LAST_UNKNOWN + 1):
        _add(calls, seccomp.ERRNO(errno.ENOSYS), number)
    with open(os.memfd_create("filter"), "w+b") as file:  # noqa: PTH123 - it has no path
        calls.export_bpf(file)
        file.seek(0)
        return file.read()


def restrict(ignores_metadata: bool, signals_are_scoped: bool) -> None:
    """Apply the filter to this process, which has one thread, and all that it starts.

    Where Landlock does not hold signals back (``signals_are_scoped``), a process may send them to itself alone.

    Raises:
        OSError

    """
    text = prepared(ignores_metadata)
    program = _Program(len(text) // _INSTRUCTION, text)
    landlock.call(landlock.LIBC.prctl, _SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0)
    if not signals_are_scoped:
        _to_itself_alone().load()


def _to_itself_alone() -> Any:
    calls = seccomp.SyscallFilter(seccomp.ALLOW)
    denied = seccomp.ERRNO(errno.EPERM)
    mine = os.getpid()
    # An argument is compared with all its 64 bits, and a process id has 32: what is above them cannot hide one.
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        _add(calls, denied, name, seccomp.Arg(0, seccomp.NE, mine))
    _deny(calls, denied, ["tkill", "pidfd_send_signal"])
    for command in (_F_SETOWN, _F_SETOWN_EX):
        _add(calls, denied, "fcntl", _low(1, command))
    for request in _SET_OWNERS:
        _add(calls, denied, "ioctl", _low(1, request))
    return calls


def _conditions() -> Iterator[tuple[Any, ...]]:
    """Calls that are denied for what is in their arguments: a name, and conditions that hold together."""
    argument, masked = seccomp.Arg, seccomp.MASKED_EQ
    for flag in _NAMESPACES:
        yield "clone", argument(0, masked, flag, flag)
    yield from _sockets()
    yield "sendto", argument(3, masked, _FAST_OPEN, _FAST_OPEN)
    yield "sendmsg", argument(2, masked, _FAST_OPEN, _FAST_OPEN)
    yield "sendmmsg", argument(3, masked, _FAST_OPEN, _FAST_OPEN)
    for request in (_INPUT_OF_A_TERMINAL, _CONSOLE, _SET_FLAGS, _SET_ATTRIBUTES):
        yield "ioctl", _low(1, request)
    # Of other processes of the same user.
    yield "prlimit64", argument(0, seccomp.NE, 0)
    yield "sched_setaffinity", argument(0, seccomp.NE, 0)
    yield "prctl", _low(0, _SET_DEATH_SIGNAL), argument(1, seccomp.NE, signal.SIGKILL)


def _sockets() -> Iterator[tuple[Any, ...]]:
    """All sockets but those of TCP and UDP: Landlock knows no other protocol's ports."""
    low = 0xFFFFFFFF
    families = (socket.AF_INET, socket.AF_INET6)
    for bit_family in _others(families):
        yield "socket", seccomp.Arg(0, seccomp.MASKED_EQ, low, bit_family)
    yield "socket", seccomp.Arg(0, seccomp.GT, 63)
    for kind in _others((socket.SOCK_STREAM, socket.SOCK_DGRAM), 16):
        yield "socket", seccomp.Arg(1, seccomp.MASKED_EQ, _TYPE, kind)
    for protocol in _others((0, _TCP, _UDP)):
        yield "socket", seccomp.Arg(2, seccomp.MASKED_EQ, low, protocol)
    yield "socket", seccomp.Arg(2, seccomp.GT, 63)
    for kind in _LOCAL_PAIR_TYPES:
        yield "socketpair", seccomp.Arg(1, seccomp.MASKED_EQ, _TYPE, int(kind))


def _others(wanted: Sequence[int], end: int = 64) -> list[int]:
    return [number for number in range(end) if number not in wanted]


def _low(index: int, value: int) -> Any:
    """That an argument's lower 32 bits, which the kernel looks at, have a value."""
    return seccomp.Arg(index, seccomp.MASKED_EQ, 0xFFFFFFFF, value)


def _deny(calls: Any, action: int, names: Sequence[str]) -> None:
    for name in names:
        _add(calls, action, name)


def _add(calls: Any, action: int, name: str | int, *conditions: Any) -> None:
    """Add a rule, unless this machine, or its library, has no such call."""
    number = name if isinstance(name, int) else seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
    if number >= 0:
        calls.add_rule(action, number, *conditions)
