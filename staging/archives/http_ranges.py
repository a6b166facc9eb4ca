"""A range of something, as the body of an HTTP answer that is read piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_PIECE = 512 * 1024  # bytes handed on at a time, at most: what stays in a processor's cache until it is used


def pieces_of(response: requests.Response, count: int, whole: bool = True) -> Iterator[bytes]:
    """The ``count`` bytes of the range that ``response``, a 206, brings; in ``whole`` pieces, or as they come.

    Raises:
        ConnectionError: fewer came.
        requests.RequestException, urllib3.exceptions.HTTPError, OSError

    """
    read = response.raw.read if whole else response.raw.read1
    while count and (piece := read(min(count, _PIECE), decode_content=False)):
        count -= len(piece)
        yield piece
        del piece  # so that its memory serves for the next one
    if count:
        raise ConnectionError(f"{count} bytes did not come")
    response.raw.read(1)  # its end, by which the connection is free for the next request


def interrupt(responses: Iterable[requests.Response]) -> None:
    """Wake up who waits for bytes of one of ``responses``."""
    for response in responses:
        with suppress(Exception):  # it comes to its end at this very moment, in one of many ways
            response.raw.shutdown()
