"""The RPCs that stage builds, and say how far that came."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import cherrypy

from downloader import Downloader, Wish
from staging.errors import InvalidParameter
from staging.holds import checked_holder
from web.access import grants
from web.http.clients import WaitingRoom, client_address
from web.http.gateway import SOCKET_KEY
from web.methods import answers, as_text, documented, refuse_other_sites
from web.parameters import flag, names, optional_text, seconds, text, texts
from web.parameters import lease as lease_of
from web.site.pages import Pages
from web.visitors import is_person

EXAMPLE_URL = "gs://chromeos-image-archive/x86-mario-release/R17-1413.0.0-a1-b1346"


class StagingRpcs:
    """The RPCs of who wants a build."""

    def __init__(self, downloader: Downloader, waiting_room: WaitingRoom, pages: Pages) -> None:
        """``pages`` are for who asks with a browser."""
        self._downloader = downloader
        self._pages = pages
        self._waiting_room = waiting_room

    @answers("GET", "POST")
    def download(
        self,
        /,
        *,
        archive_url: Any = None,
        background: Any = None,
        lease: Any = None,
        holder: Any = None,
        token: Any = None,
        **_ignored: Any,
    ) -> bytes:
        """Stage a build: what a device needs first before this answers, the rest in the background.

        archive_url
            The build: gs://bucket/target/version.
        background
            With false, the answer comes when all of it is staged.
        lease
            Keep the build from being removed for so long from now on: 90s, 30m, 2h, 1d, or a number of seconds.
        holder
            Who keeps it; the client's address, if it is left out. To ask once more makes the holder's lease longer.

        Answers Success, or 500 with the cause. Who asks for a build that is being staged joins in; of one that is
        staged, nothing is fetched again. See also wait_for_status.
        """
        if is_person(cherrypy.request.headers):
            return self._pages.download(optional_text("archive_url", archive_url), token)
        refuse_other_sites()
        grants.require("stage")
        url = text("archive_url", archive_url, EXAMPLE_URL)
        in_background = flag("background", background, default=True)
        term = lease_of("lease", lease, _holder(holder))
        with self._seat() as gone:
            self._downloader.download(url, in_background, gone, client_address(), term)
        return _success()

    @answers("GET", "POST")
    def wait_for_status(self, /, *, archive_url: Any = None, timeout: Any = None, **_ignored: Any) -> bytes:
        """Wait until a build that was asked for by download is staged.

        archive_url
            The build: gs://bucket/target/version.
        timeout
            Seconds after which the answer is 504; the download goes on. Without it, the answer comes when there is one.

        Answers Success, or 500 with the cause of the failure, to any number of callers, any number of times.
        """
        url = text("archive_url", archive_url, EXAMPLE_URL)
        longest = seconds("timeout", timeout)
        with self._seat() as gone:
            self._downloader.get_status_of_background_downloads(url, longest, gone)
        return _success()

    @answers("GET", "POST", changes=True)
    @documented
    def stage(
        self,
        /,
        *,
        archive_url: Any = None,
        artifacts: Any = None,
        files: Any = None,
        file: Any = None,
        clean: Any = None,
        local_path: Any = None,
        delete_source: Any = None,
        lease: Any = None,
        holder: Any = None,
        **others: Any,
    ) -> bytes:
        """Stage what is named of a build.

        archive_url
            The build: gs://bucket/target/version; for files, of any depth.
        local_path
            In its place, a directory of this machine, in the static directory or below an --archive-root.
        artifacts
            Names of the catalogue, with commas between them: full_payload,stateful. What belongs to one comes along.
        files
            Names of files in the archive, with commas between them; * and ? stand for any text and any character.
        file
            The same of one name as it stands, with its commas and blanks; it may be given several times.
        async
            With true, the answer comes at once; is_staged tells of the outcome.
        clean
            With true, all that is staged of the build is removed first; 409 where it is pinned, or another holder's.
        delete_source
            With true, what was staged from a local_path is deleted there.
        lease, holder
            Keep the build from being removed, as in download.

        Answers Success when everything is staged, or 500 with the cause.
        """
        url, wish = _url(archive_url, local_path), _wish(artifacts, files, file)
        options: dict[str, Any] = {
            "clean": flag("clean", clean, default=False),
            "in_background": flag("async", others.get("async"), default=False),
            "deletes_source": flag("delete_source", delete_source, default=False),
            "lease": lease_of("lease", lease, _holder(holder)),
            "holder": _holder(holder),
        }
        grants.require("stage")
        if options["clean"] or options["deletes_source"]:
            grants.require("remove")
        if options["deletes_source"] and not optional_text("local_path", local_path):
            raise InvalidParameter("delete_source", "it goes with local_path: nothing is deleted from an archive")
        with self._seat() as gone:
            self._downloader.stage(url, wish, gone=gone, client=client_address(), **options)
        return _success()

    @answers("GET", "POST")
    @documented
    def is_staged(
        self,
        /,
        *,
        archive_url: Any = None,
        artifacts: Any = None,
        files: Any = None,
        file: Any = None,
        local_path: Any = None,
        **_ignored: Any,
    ) -> bytes:
        """Whether what is named of a build is staged; the parameters are those of stage.

        Answers True or False; or 500 with the cause, where the last attempt to stage a part of it failed.
        """
        url, wish = _url(archive_url, local_path), _wish(artifacts, files, file)
        return as_text(str(self._downloader.is_staged(url, wish)))

    def _seat(self) -> AbstractContextManager[Future[None]]:
        """Room for the client to wait in; what it gives is done once the client went away."""
        return self._waiting_room.seat(cherrypy.serving.request.wsgi_environ[SOCKET_KEY])


def _url(archive_url: Any, local_path: Any) -> str:
    """The archive URL that is meant."""
    directory = optional_text("local_path", local_path)
    if not directory:
        return text("archive_url", archive_url, EXAMPLE_URL)
    if optional_text("archive_url", archive_url):
        raise InvalidParameter("local_path", "it stands in place of archive_url; give one of them")
    return f"file://{directory}"


def _wish(artifacts: Any, files: Any, file: Any) -> Wish:
    wish = Wish(names("artifacts", artifacts), [*names("files", files), *texts("file", file)])
    if not any(wish):
        raise InvalidParameter("artifacts", "name artifacts or files, as in artifacts=full_payload,stateful")
    return wish


def _holder(given: Any) -> str:
    """Who asks, as leases name him."""
    return checked_holder("holder", optional_text("holder", given)) or str(cherrypy.request.remote.ip)


def _success() -> bytes:
    return as_text("Success")
