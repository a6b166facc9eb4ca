"""The answers of /static, and who is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Served(NamedTuple):
    """One answer of /static.

    Attributes:
        environ: of the request, as WSGI has it.
        status: of the answer.
        size: bytes of its body, as its head promises.
        build: the path of the build that the file is of; empty where it is of none, or there is none.
        file: the path of the file in the build.
        file_size: bytes of all of the file.

    """

    environ: Mapping[str, Any]
    status: int
    size: int
    build: str = ""
    file: str = ""
    file_size: int = 0


class Read(NamedTuple):
    """A file of a build that somebody else served, and its size."""

    build: str
    file: str
    size: int


class Observer(Protocol):
    """Is told of every answer once it is over, in the thread that gave it."""

    def ends(self, served: Served, sent: int) -> None:
        """So many bytes of its body were sent: all, or fewer where the client went away."""
