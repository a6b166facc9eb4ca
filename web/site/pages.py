"""The front page, the download page, and the page of each build, with what people can do there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import cherrypy
import psutil

from artifacts.catalogue import Catalogue
from downloader import Downloader, Wish
from staging.errors import Cancelled, DevServerError, InvalidParameter, NotStaged, RequestError
from staging.holds import BuildHolds
from staging.overview import ArtifactView, BuildView
from staging.status import State
from web import rendering
from web.access import grants
from web.access.refused_names import RefusedName
from web.http.clients import client_address
from web.parameters import build_name_of
from web.site import forms
from web.site.build_pages import Place, page_of

_HEADERS = {**rendering.HEADERS, "Cache-Control": "no-store"}  # a page tells how things are now
_MOST_LINKS = 8  # files of an artifact that are linked one by one

Readers = Callable[[str], int | None]


class Pages:
    """The pages about builds."""

    def __init__(
        self,
        downloader: Downloader,
        holds: BuildHolds,
        catalogue: Catalogue,
        readers: Readers,
        static_dir: str,
        refused_names: Callable[[], Sequence[RefusedName]] = tuple,
    ) -> None:
        """``readers`` tells how many clients are reading files of the build at a path; None where that is not known.
        ``refused_names`` are those by which browsers asked in vain.
        """
        self._refused_names = refused_names
        self._downloader = downloader
        self._holds = holds
        self._catalogue = catalogue
        self._readers = readers
        self._static_dir = static_dir

    def front(self, after: str = "", before: str = "", words: str = "") -> Iterator[bytes]:
        """A page of the builds on this server, the newest first, and what is being staged; or no more than a welcome.

        Raises:
            InvalidParameter: ``after`` or ``before`` is none of those in the links to other pages.

        """
        if not grants.may("read"):
            return iter((show("welcome.html"),))
        place = Place.parse(after, before, words)
        disk = psutil.disk_usage(self._static_dir)
        self._downloader.list.check()  # where it cannot be told, no page has begun
        cherrypy.response.headers.update(_HEADERS)
        return rendering.pieces(
            "front.html",
            token=forms.token(),
            may=grants.may,
            under_way=self._downloader.builds_under_way,
            page=lambda: page_of(self._downloader.list, place),
            readers=self._readers,
            refused_names=self._refused_names(),
            used=disk.used,
            free=disk.free,
        )

    def download_form(self, archive_url: str = "", problem: str = "") -> bytes:
        """The page that asks which build to download; after a problem, with that."""
        return show("download.html", archive_url=archive_url, problem=problem)

    def download(self, archive_url: str, token: Any) -> bytes:
        """Start the download that the form asks for, and go to the build's page; or say what is wrong with it."""
        if not forms.is_ours(token):
            return self.download_form(archive_url)
        grants.require("stage")
        try:
            path = self._downloader.start_staging(archive_url.strip(), Wish(), client=client_address())
        except RequestError as error:
            cherrypy.response.status = int(HTTPStatus.BAD_REQUEST)
            return self.download_form(archive_url, f"{error}")
        return _see(path)

    def build(self, build_path: str) -> bytes:
        """One build: every artifact with its state, and what can be done.

        Raises:
            NotStaged

        """
        build = self._downloader.build(build_path)
        groups = {"synchronous": [], "background": [], "on_request": []}  # type: dict[str, list[ArtifactView]]
        for artifact in build.artifacts:
            groups[self._group_of(artifact.name)].append(artifact)
        return show(
            "build.html",
            build=build,
            **groups,
            answered_at=_answered_at(groups["synchronous"]) if self._has_all_of_it_first(build) else 0.0,
            causes=_shared_causes(build.artifacts),
            files={artifact.name: self._files_of(build, artifact) for artifact in build.artifacts},
            left_out={
                artifact.name: self._downloader.left_out(build_path, artifact.name) for artifact in build.artifacts
            },
            can_retry=not build.is_under_way and not build.state.is_good,
            readers=self._readers(build.build_path),
            server=cherrypy.request.base,
            url_in_query=quote(build.archive_url, safe="/:"),
        )

    def name_of(self, build: str, bucket: str) -> str:
        """What the build is called that is named by its path, with its bucket or without, or by its archive URL.

        Raises:
            NotStaged: there can be no such build.

        """
        return build_name_of(self._downloader.name_of, build, bucket)

    def remove_form(self, build_path: str) -> bytes:
        """The page that asks whether to remove a build.

        Raises:
            NotStaged

        """
        build = self._downloader.build(build_path)
        return show("remove.html", build=build, readers=self._readers(build.build_path))

    def act(self, build_path: str, action: str, artifact: str, token: Any) -> bytes:
        """Do what a button of a build's page says, of the build or of one artifact, and show what there is then.

        Raises:
            DevServerError: it cannot be done.

        """
        downloader = self._downloader
        actions: dict[str, Callable[[], None]] = {
            "cancel": lambda: downloader.cancel(build_path),
            "retry": lambda: downloader.retry(build_path, artifact, client_address()),
            "complete": lambda: downloader.complete(build_path, client_address()),
            "dismiss": lambda: downloader.dismiss(build_path, artifact),
            "remove": lambda: downloader.remove(build_path),
            "pin": lambda: self._holds.pin(build_path),
            "unpin": lambda: self._holds.unpin(build_path),
        }
        if action not in actions:
            raise InvalidParameter("action", f"{action!r} is none of {', '.join(actions)}")
        if forms.is_ours(token):  # else it is asked for once more: the form was another's, or its cookie is gone
            grants.require("remove" if action == "remove" else "stage")
            actions[action]()
            if action == "remove" or not self._is_known(build_path):
                raise cherrypy.HTTPRedirect("/", int(HTTPStatus.SEE_OTHER))
        return _see(build_path)

    def _is_known(self, build_path: str) -> bool:
        """Whether there is anything to show of a build; not where its only artifact failed, and that was dismissed."""
        try:
            self._downloader.build(build_path)
        except NotStaged:
            return False
        return True

    def _has_all_of_it_first(self, build: BuildView) -> bool:
        """Whether everything is there that is staged before /download answers."""
        good = {artifact.name for artifact in build.artifacts if artifact.state.is_good}
        return self._synchronous() <= good

    def _synchronous(self) -> set[str]:
        return {entry.name for entry in self._catalogue.of_a_download if entry.synchronous}

    def _group_of(self, name: str) -> str:
        if name in self._synchronous():
            return "synchronous"
        return "background" if name in self._catalogue.is_required else "on_request"

    def _files_of(self, build: BuildView, artifact: ArtifactView) -> list[str]:
        """The files of an artifact that are worth a link each."""
        if not 0 < artifact.files <= _MOST_LINKS:
            return []
        return self._downloader.files_of(build.build_path, artifact.name)


def html(content: bytes) -> bytes:
    """An answer that is a page; never kept, for it tells how things are now."""
    cherrypy.response.headers.update(_HEADERS)
    return content


def show(template: str, **values: Any) -> bytes:
    """The page that a template makes of ``values``, and of what the one who asks may do."""
    return html(rendering.page(template, token=forms.token(), may=grants.may, **values))


def _see(build_path: str) -> bytes:
    """Send the browser to the build's page."""
    raise cherrypy.HTTPRedirect(rendering.build_page(build_path), int(HTTPStatus.SEE_OTHER))


def _answered_at(synchronous: Sequence[ArtifactView]) -> float:
    """When /download could answer: the last of these was staged then."""
    return max((artifact.staged_at for artifact in synchronous), default=0.0)


def _shared_causes(artifacts: Sequence[ArtifactView]) -> dict[str, DevServerError]:
    """The causes that are told once for the whole build, by their texts: those that are not one artifact's own."""
    own = Counter(str(one.cause) for one in artifacts if one.state is State.FAILED)
    return {
        str(one.cause): one.cause
        for one in artifacts
        if one.cause is not None and (isinstance(one.cause, Cancelled) or own[str(one.cause)] != 1)
    }
