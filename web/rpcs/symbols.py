"""The RPCs of who collects crashes: symbols are staged, and minidumps become stacks by them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import cherrypy

from downloader import Downloader, Wish
from staging.errors import NoStackwalker, NotStaged, Overloaded
from staging.layout import dumps_directory
from staging.stackwalker import Stackwalker
from web import dumps
from web.access import grants
from web.http.clients import WaitingRoom, client_address
from web.http.gateway import SOCKET_KEY
from web.methods import answers, as_text
from web.parameters import optional_text, text
from web.rpcs.staging import EXAMPLE_URL

_SYMBOLS = "symbols"  # the artifact
_ROOT = "debug/breakpad"  # of what it is unpacked into: module/ID/module.sym lies below
_AT_ONCE = 8


class SymbolRpcs:
    """The RPCs of who collects crashes."""

    def __init__(
        self, downloader: Downloader, static_dir: Path, waiting_room: WaitingRoom, stackwalker: Stackwalker | None
    ) -> None:
        """Without a ``stackwalker``, no dump becomes a stack."""
        self._downloader = downloader
        self._dumps = dumps_directory(static_dir)
        self._waiting_room = waiting_room
        self._stackwalker = stackwalker
        self._places = BoundedSemaphore(_AT_ONCE)

    @answers("GET", "POST", changes=True)
    def stage_debug(self, /, *, archive_url: Any = None, **_ignored: Any) -> bytes:
        """Stage a build's debug symbols, as stage does with artifacts=symbols.

        archive_url
            The build: gs://bucket/target/version.

        Answers Success when they are staged, or 500 with the cause.
        """
        grants.require("stage")
        with self._seat() as gone:
            self._stage(text("archive_url", archive_url, EXAMPLE_URL), gone)
        return as_text("Success")

    @answers("POST", changes=True)
    def symbolicate_dump(self, /, *, archive_url: Any = None, **_ignored: Any) -> bytes:
        """Make a stack of a minidump, by the symbols of the build that it is of, which are staged if need be.

        archive_url
            The build: gs://bucket/target/version.
        minidump
            The dump, in a multipart/form-data body of 100 MiB at most: curl -F minidump=@FILE. It may be compressed by
            gzip, and so may the body.

        Answers the stack as text; 501 where the devserver was started without --stackwalk.
        """
        if self._stackwalker is None:
            raise NoStackwalker
        grants.require("stage")
        with self._place(), self._seat() as gone, dumps.received(self._dumps) as dump:
            given = optional_text("archive_url", archive_url) or dump.fields.get("archive_url", "")
            symbols = self._stage(text("archive_url", given, EXAMPLE_URL), gone)
            return as_text(self._stackwalker.stack_of(dump.path, symbols, gone.done))

    def _stage(self, url: str, gone: Future[None]) -> Path:
        """Stage a build's symbols; the directory that they lie in."""
        self._downloader.stage(url, Wish([_SYMBOLS]), gone=gone, client=client_address())
        places, _ = self._downloader.staged_files(url, [_SYMBOLS])
        root = places.published / _ROOT
        if not root.is_dir():
            raise NotStaged(f"the symbols of {url} are staged, and there is no {_ROOT} among them")
        return root

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places of those who have a stack made."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{_AT_ONCE} stacks are being made, and no more are made at once")
        try:
            yield
        finally:
            self._places.release()

    def _seat(self) -> Any:
        return self._waiting_room.seat(cherrypy.serving.request.wsgi_environ[SOCKET_KEY])
