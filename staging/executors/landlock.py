"""Landlock: what the kernel keeps a process, and all that it starts, from reaching, for ever (landlock(7)).

libc has no functions for it; the numbers are the same on every machine.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

NEWEST = 7  # the version that this was written for; a later one has all that this has

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH, _NET_PORT = 1, 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIRECTORY, _REMOVE_FILE, _MAKE_DIRECTORY, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # make devices, sockets and pipes: nobody may
_MAKE_LINK, _REFER, _TRUNCATE, _IOCTL = 1 << 12, 1 << 13, 1 << 14, 1 << 15
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

# The versions from which there is something.
RENAMES, TRUNCATES, NETWORK, DEVICES, SCOPES = 2, 3, 4, 5, 6

READ = _READ_FILE | _READ_DIRECTORY
RUN = READ | _EXECUTE
WRITE = READ | _WRITE_FILE | _TRUNCATE
LOCK = WRITE | _MAKE_FILE | _REMOVE_FILE
TREE = LOCK | _MAKE_DIRECTORY | _REMOVE_DIRECTORY | _MAKE_LINK | _REFER
TREE_WITH_PROGRAMS = TREE | _EXECUTE
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL


class Rule(NamedTuple):
    """What may be done with a path, and all below it."""

    path: str
    access: int


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _Port(ctypes.Structure):
    _fields_ = (("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64))


LIBC = ctypes.CDLL(None, use_errno=True)


def call(function: Callable[..., int], *arguments: object) -> int:
    """What a function of libc returns.

    Raises:
        OSError

    """
    result = int(function(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def version() -> int:
    """The version that the kernel has; 0 where it has none, or does not let this process use it."""
    try:
        return call(LIBC.syscall, _CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError:
        return 0


def restrict(rules: Iterable[Rule], ports: Iterable[int] | None, at_most: int) -> None:
    """Restrict this process to what ``rules`` say of files, and to connections to ``ports`` of others (None for all).

    That is as far as the kernel's version goes, and no further than the version ``at_most``. A rule for what is not
    there is none.

    Raises:
        OSError

    """
    known = min(version(), at_most)
    if known < RENAMES:
        return  # no file could be moved to another directory
    files = (1 << _bits_of(known)) - 1
    network = _BIND_TCP | _CONNECT_TCP if known >= NETWORK and ports is not None else 0
    scopes = _ABSTRACT_SOCKETS | _SIGNALS if known >= SCOPES else 0
    attributes = _Ruleset(files, network, scopes)
    size = 24 if known >= SCOPES else 16 if known >= NETWORK else 8
    ruleset = call(LIBC.syscall, _CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for rule in rules:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                _allow(ruleset, rule.path, rule.access & files)
        for port in (ports or ()) if network else ():
            attribute = _Port(_CONNECT_TCP, port)
            call(LIBC.syscall, _ADD_RULE, ruleset, _NET_PORT, ctypes.byref(attribute), 0)
        call(LIBC.syscall, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _bits_of(known: int) -> int:
    """How many rights of files a version has; they were added one at a time."""
    return 16 if known >= DEVICES else 15 if known >= TRUNCATES else 14


def _allow(ruleset: int, path: str, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        rule = _Beneath(access, descriptor)
        call(LIBC.syscall, _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
