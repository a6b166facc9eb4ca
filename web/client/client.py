"""A client of the devserver, for test harnesses: ``Client("http://devserver:8080").download("gs://...")``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import requests

from . import listing
from .addresses import shown
from .asking import ANSWER_TIMEOUT, Asking
from .connection import Access, checked_token
from .errors import NoDownload, ServerUnreachable, StillStaging
from .events import StatusEvent
from .shapes import Build, CatalogueArtifact, Lease

_SUCCESS = ("Success",)
_WORDS = {"/is_staged": ("True", "False")}  # of the others, that it is done


class Client:
    """Asks a devserver, or several that share out the builds. Any number of threads may use one client."""

    def __init__(
        self,
        url: str | Sequence[str],
        patience: float = 90.0,
        request_id: str = "",
        token: str | None = None,
        ca: str | None = None,
    ) -> None:
        """A client of the devserver at ``url``: ``http://devserver:8080``; or of several, at their URLs.

        Of several, each with a disk of its own, each build belongs to one, as nginx in front of the same ``host:port``
        shares them out; where that one does not answer, the next stages the build. What is about no build is asked of
        the first that answers.

        For ``patience`` seconds it may be away, or without room: it may be starting anew. ``token`` is sent along where
        it asks for one. Of an ``https://`` URL, ``ca`` is the file of the certificates to trust, in place of those that
        ``REQUESTS_CA_BUNDLE`` names, or the usual ones. The devserver's log has the ``request_id`` in every line of
        what is asked for; without one, each call has an id of its own.
        """
        access = Access(checked_token(token), ca)
        self._asking = Asking([url] if isinstance(url, str) else url, patience, request_id, access)

    def download(
        self, archive_url: str, timeout: float | None = None, lease: str | float | None = None, holder: str = ""
    ) -> None:
        """Stage a build; returns once what a device needs first is staged.

        A ``lease``, seconds or ``2h``, keeps it from being removed for so long from now on, for the ``holder``, who is
        this machine unless he is named; to ask again makes it longer.

        Raises:
            StagingFailed, RequestRefused, ServerUnreachable, ServerBusy
            StillStaging: ``timeout`` seconds were not enough.

        """
        self._ask("/download", {"archive_url": archive_url, **_leased(lease, holder)}, timeout)

    def wait_for_status(self, archive_url: str, timeout: float | None = None) -> None:
        """Return once all of a build is staged; raises like :meth:`download`.

        Where its devserver is lost, of several, the next one is asked to stage it.
        """
        began = time.monotonic()
        try:
            self._wait(archive_url, timeout)
        except NoDownload:
            if not self._asking.devservers.is_one_lost():
                raise
            self.download(archive_url, _less(timeout, began))
            self._wait(archive_url, _less(timeout, began))

    def stage(
        self,
        archive_url: str,
        artifacts: Sequence[str] = (),
        files: Sequence[str] = (),
        clean: bool = False,
        in_background: bool = False,
        timeout: float | None = None,
        lease: str | float | None = None,
        holder: str = "",
    ) -> None:
        """Stage what is named of a build; returns once it is, or at once with ``in_background``.

        ``lease`` and ``holder`` are those of :meth:`download`; ``clean`` is refused where others hold the build.

        Raises like :meth:`download`.
        """
        options = {"clean": str(clean), "async": str(in_background), **_leased(lease, holder)}
        longest = ANSWER_TIMEOUT if in_background and timeout is None else timeout
        self._ask("/stage", {**_named(archive_url, artifacts, files), **options}, longest)

    def is_staged(self, archive_url: str, artifacts: Sequence[str] = (), files: Sequence[str] = ()) -> bool:
        """Whether what is named of a build is staged.

        Raises:
            StagingFailed: the last attempt to stage a part of it failed.
            RequestRefused, ServerUnreachable, ServerBusy

        """
        try:
            return self._ask("/is_staged", _named(archive_url, artifacts, files), ANSWER_TIMEOUT) == "True"
        except StillStaging:
            raise ServerUnreachable(f"{self._asking} does not answer") from None

    def events(self, build_path: str) -> Iterator[StatusEvent]:
        """The events of a build, from its present state to its outcome; a stream that breaks off is gone on with.

        Raises:
            RequestRefused: nothing is known of the build.
            ServerUnreachable, ServerBusy: for longer than a restart takes.

        """
        return self._asking.events(f"{_address_of(build_path)}/events", build_path)

    def start(
        self, archive_url: str, artifacts: Sequence[str] = (), files: Sequence[str] = (), clean: bool = False
    ) -> str:
        """Have a build staged, or what is named of it; returns its build path at once.

        Raises:
            RequestRefused, ServerUnreachable, ServerBusy

        """
        wish = {"archive_url": archive_url, "artifacts": list(artifacts), "files": list(files), "clean": clean}
        return str(self._asking.json("POST", "/builds", "build", archive_url, json=wish)["build"])

    def builds(self, prefix: str = "") -> Iterator[Build]:
        """The builds on the devserver whose paths begin with ``prefix``, in the order of their paths.

        Of several devservers, it is the builds of all that can be reached. Raises like :meth:`start`.
        """
        return listing.builds(self._asking, prefix)

    def away(self) -> list[str]:
        """The URLs of the devservers, of several, that do not answer, and whose builds are not in :meth:`builds`."""
        return [shown(url) for url in self._asking.devservers.away()]

    def build(self, build_path: str) -> Build:
        """One build; raises like :meth:`start`, where nothing is known of it too."""
        build: Build = self._asking.json("GET", _address_of(build_path), "build", build_path)
        return build

    def remove(self, build_path: str) -> None:
        """Remove what is staged of a build.

        Raises like :meth:`start`, where it is being staged, pinned or leased too.
        """
        self._asking.json("DELETE", _address_of(build_path), build=build_path)

    def pin(self, build_path: str) -> Build:
        """Keep a build until it is unpinned; raises like :meth:`build`."""
        build: Build = self._asking.json("POST", f"{_address_of(build_path)}/pin", "build", build_path)
        return build

    def unpin(self, build_path: str) -> Build:
        """Keep it no longer than its leases say; raises like :meth:`build`."""
        build: Build = self._asking.json("DELETE", f"{_address_of(build_path)}/pin", "build", build_path)
        return build

    def lease(self, build_path: str, seconds: float, holder: str = "") -> Lease:
        """Keep a build for so many seconds, for ``holder``; raises like :meth:`build`."""
        term = {"seconds": seconds, "holder": holder}
        lease: Lease = self._asking.json("POST", f"{_address_of(build_path)}/leases", "id", build_path, json=term)
        return lease

    def renew(self, build_path: str, lease: str, seconds: float) -> Lease:
        """Have the lease of that id end so many seconds from now; raises like :meth:`release`."""
        address = f"{_address_of(build_path)}/leases/{quote(lease, safe='')}"
        renewed: Lease = self._asking.json("PUT", address, "id", build_path, json={"seconds": seconds})
        return renewed

    def release(self, build_path: str, lease: str) -> None:
        """Give the lease of that id back; raises like :meth:`build`, where it has ended too."""
        self._asking.json("DELETE", f"{_address_of(build_path)}/leases/{quote(lease, safe='')}", build=build_path)

    def cancel(self, build_path: str) -> Build:
        """Stop what is being staged of a build; returns once it has stopped.

        Raises like :meth:`start`, where nothing of it is being staged too.
        """
        build: Build = self._asking.json("POST", f"{_address_of(build_path)}/cancel", "build", build_path)
        return build

    def catalogue(self) -> list[CatalogueArtifact]:
        """The artifacts that the devserver knows; raises like :meth:`start`."""
        entries: list[CatalogueArtifact] = self._asking.json("GET", "/artifacts", "artifacts")["artifacts"]
        return entries

    def health(self) -> dict[str, float]:
        """How the devserver is doing, as ``/check_health`` says it; raises like :meth:`start`."""
        figures: dict[str, float] = self._asking.json("GET", "/health")
        return figures

    def version(self) -> str:
        """Which devserver this is; raises like :meth:`start`."""
        return str(self._asking.json("GET", "/version", "version")["version"])

    def _wait(self, archive_url: str, timeout: float | None) -> None:
        limit = {} if timeout is None else {"timeout": f"{timeout:g}"}
        longest = None if timeout is None else timeout + ANSWER_TIMEOUT
        self._ask("/wait_for_status", {"archive_url": archive_url, **limit}, longest)

    def _ask(self, method: str, query: Mapping[str, str | list[str]], timeout: float | None) -> str:
        """The text of an RPC's answer, which is one of a few words."""

        def is_one(answer: requests.Response) -> bool:
            return answer.text in _WORDS.get(method, _SUCCESS)

        return self._asking.answer("GET", method, timeout, str(query["archive_url"]), is_one, params=query).text


def _less(timeout: float | None, began: float) -> float | None:
    """What is left of a time that began then."""
    return None if timeout is None else max(0.001, timeout - (time.monotonic() - began))


def _address_of(build_path: str) -> str:
    return f"/builds/{quote(build_path, safe='')}"


def _named(archive_url: str, artifacts: Sequence[str], files: Sequence[str]) -> dict[str, str | list[str]]:
    plain = [name for name in files if "," not in name and name.strip() == name]
    named = {"archive_url": archive_url, "artifacts": ",".join(artifacts), "files": ",".join(plain)}
    return {**named, "file": [name for name in files if name not in plain]}


def _leased(lease: str | float | None, holder: str) -> dict[str, str]:
    return {} if lease is None else {"lease": str(lease), "holder": holder}
