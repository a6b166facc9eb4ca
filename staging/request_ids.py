"""Whose request the work of a thread is for: an id that goes into every line of the log.

It is no argument of every function on the way: a caller's id says nothing of what is to be done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits

_LONGEST = 128
# Nothing that means anything to who reads a line of a log: no space, no quotation mark, no bracket.
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._:/@+=-]")

_current: ContextVar[str] = ContextVar("request_id", default="")


def new() -> str:
    """An id that no other request is likely to have."""
    return f"{getrandbits(48):012x}"


def cleaned(text: str) -> str:
    """``text`` as an id: what may not stand in one becomes ``_``, and what is longer than one is cut."""
    return _FORBIDDEN.sub("_", text[:_LONGEST])


def current() -> str:
    """The id of the request that this thread works for; empty where it works for none."""
    return _current.get()


def work_for(request_id: str) -> None:
    """Have this thread work for that request from now on; for none, where it is empty."""
    _current.set(request_id)


@contextmanager
def held(request_id: str) -> Iterator[None]:
    """Have this thread work for that request as long as the context lasts."""
    before = current()
    work_for(request_id)
    try:
        yield
    finally:
        work_for(before)
