"""A client of the devserver, for test harnesses: ``Client("http://devserver:8080").download("gs://...")``."""

from __future__ import annotations

import json
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any, NamedTuple, TypedDict
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

_CONNECT_TIMEOUT = 10.0  # seconds
_ANSWER_TIMEOUT = 60.0  # seconds, of what does not wait for anything
_LONGEST_PAUSE = 10.0  # seconds between two tries
# A devserver whose machine lost its power says nothing: the kernel asks it now and then whether it is still there.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
]
_MOST_WRAPPED = 100  # errors within errors
_STREAM_SILENCE = 60.0  # seconds; the server says something every fifteen
_STOPPING = "Cancelled: the devserver is stopping"
_LAST_KINDS = ("outcome", "removed")
_API = "/api/v1"
_PAGE = 1000  # builds that are asked for at once
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_CAUSE = re.compile(r"(?m)^(.*)\n\s*</pre>")


class ClientError(Exception):
    """Anything that went wrong, as one line."""


class ServerUnreachable(ClientError):
    """The devserver cannot be reached, or broke off."""


class ServerBusy(ClientError):
    """The devserver has no room for another client that waits; it may after ``retry_after`` seconds."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class RequestRefused(ClientError):
    """The request is wrong: asking again changes nothing."""


class StagingFailed(ClientError):
    """The build cannot be staged; the text begins with the kind of the cause."""


class StillStaging(ClientError):
    """The time that the caller gave was not enough; the devserver goes on."""


class StatusEvent(NamedTuple):
    """One event of a build.

    Attributes:
        kind: ``artifact``, or for the last one ``outcome``, or ``removed`` where the build was taken away.
        data: of an artifact its name (``artifact``), ``state``, ``bytes_done``, ``bytes_total`` and ``cause``; of the
            outcome ``state`` and ``cause``.

    """

    kind: str
    data: Mapping[str, Any]


class Cause(TypedDict):
    """Why something failed: its kind, and a sentence."""

    kind: str
    text: str


class Artifact(TypedDict):
    """One artifact of a build; ``/api/v1/openapi.json`` says what each part means."""

    name: str
    state: str
    bytes_done: int
    bytes_total: int
    files: int
    size: int
    staged_at: str | None
    cause: Cause | None


class Lease(TypedDict):
    """A time for which a build is kept."""

    id: str
    holder: str
    until: str


class Build(TypedDict):
    """One build; ``build`` is its path, as in ``target/version``."""

    build: str
    archive_url: str
    state: str
    under_way: bool
    complete: bool
    in_part: bool
    size: int
    bytes_done: int
    bytes_total: int
    seconds_left: float | None
    last_used: str | None
    pinned: bool
    leases: list[Lease]
    artifacts: list[Artifact]


class CatalogueArtifact(TypedDict):
    """An artifact that builds have, as the devserver's catalogue describes it."""

    name: str
    pattern: str
    synchronous: bool
    required: bool
    on_request: bool
    unpack: bool


class Client:
    """Asks one devserver. Any number of threads may use one client."""

    def __init__(
        self,
        url: str,
        patience: float = 90.0,
        request_id: str = "",
        token: str | None = None,
        ca: str | None = None,
    ) -> None:
        """A client of the devserver at ``url``: ``http://devserver:8080``.

        For ``patience`` seconds it may be away, or without room: it may be starting anew. ``token`` is sent along where
        it asks for one. Of an ``https://`` URL, ``ca`` is the file of the certificates to trust, in place of those that
        ``REQUESTS_CA_BUNDLE`` names, or the usual ones. The devserver's log has the ``request_id`` in every line of
        what is asked for; without one, each call has an id of its own.
        """
        self._url = url.rstrip("/")
        self._patience = patience
        self._request_id = request_id
        self._access = _Access(token, ca)

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
        """Return once all of a build is staged; raises like :meth:`download`."""
        limit = {} if timeout is None else {"timeout": f"{timeout:g}"}
        longest = None if timeout is None else timeout + _ANSWER_TIMEOUT
        self._ask("/wait_for_status", {"archive_url": archive_url, **limit}, longest)

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
        longest = _ANSWER_TIMEOUT if in_background and timeout is None else timeout
        self._ask("/stage", {**_named(archive_url, artifacts, files), **options}, longest)

    def is_staged(self, archive_url: str, artifacts: Sequence[str] = (), files: Sequence[str] = ()) -> bool:
        """Whether what is named of a build is staged.

        Raises:
            StagingFailed: the last attempt to stage a part of it failed.
            RequestRefused, ServerUnreachable, ServerBusy

        """
        try:
            return self._ask("/is_staged", _named(archive_url, artifacts, files), _ANSWER_TIMEOUT) == "True"
        except StillStaging:
            raise ServerUnreachable(f"{self._url} does not answer") from None

    def events(self, build_path: str) -> Iterator[StatusEvent]:
        """The events of a build, from its present state to its outcome; a stream that breaks off is gone on with.

        Raises:
            RequestRefused: nothing is known of the build.
            ServerUnreachable, ServerBusy: for longer than a restart takes.

        """
        address = f"{self._url}{_API}{_address_of(build_path)}/events"
        last_id, named = "", self._headers()
        retry = _Retry(None, self._patience)
        while True:
            try:
                for identity, event in _streamed(address, last_id, named, self._access):
                    last_id = identity or last_id
                    retry = _Retry(None, self._patience)
                    yield event
                    if event.kind in _LAST_KINDS:
                        return
                cause: ClientError = ServerUnreachable(f"{self._url} ended the stream")
            except requests.RequestException as error:
                cause = _unreachable(self._url, error)
            except (ServerUnreachable, ServerBusy) as error:
                cause = error
            retry.wait_after(cause)

    def start(
        self, archive_url: str, artifacts: Sequence[str] = (), files: Sequence[str] = (), clean: bool = False
    ) -> str:
        """Have a build staged, or what is named of it; returns its build path at once.

        Raises:
            RequestRefused, ServerUnreachable, ServerBusy

        """
        wish = {"archive_url": archive_url, "artifacts": list(artifacts), "files": list(files), "clean": clean}
        return str(self._json("POST", "/builds", "build", json=wish)["build"])

    def builds(self, prefix: str = "") -> Iterator[Build]:
        """The builds on the devserver whose paths begin with ``prefix``, in the order of their paths.

        Raises like :meth:`start`.
        """
        after: str | None = ""
        while after is not None:
            page = self._json(
                "GET", "/builds", "builds", params={"prefix": prefix, "after": after, "limit": str(_PAGE)}
            )
            yield from page["builds"]
            after = page["next"]

    def build(self, build_path: str) -> Build:
        """One build; raises like :meth:`start`, where nothing is known of it too."""
        build: Build = self._json("GET", _address_of(build_path), "build")
        return build

    def remove(self, build_path: str) -> None:
        """Remove what is staged of a build.

        Raises like :meth:`start`, where it is being staged, pinned or leased too.
        """
        self._json("DELETE", _address_of(build_path))

    def pin(self, build_path: str) -> Build:
        """Keep a build until it is unpinned; raises like :meth:`build`."""
        build: Build = self._json("POST", f"{_address_of(build_path)}/pin", "build")
        return build

    def unpin(self, build_path: str) -> Build:
        """Keep it no longer than its leases say; raises like :meth:`build`."""
        build: Build = self._json("DELETE", f"{_address_of(build_path)}/pin", "build")
        return build

    def lease(self, build_path: str, seconds: float, holder: str = "") -> Lease:
        """Keep a build for so many seconds, for ``holder``; raises like :meth:`build`."""
        term = {"seconds": seconds, "holder": holder}
        lease: Lease = self._json("POST", f"{_address_of(build_path)}/leases", "id", json=term)
        return lease

    def renew(self, build_path: str, lease: str, seconds: float) -> Lease:
        """Have the lease of that id end so many seconds from now; raises like :meth:`release`."""
        address = f"{_address_of(build_path)}/leases/{quote(lease, safe='')}"
        renewed: Lease = self._json("PUT", address, "id", json={"seconds": seconds})
        return renewed

    def release(self, build_path: str, lease: str) -> None:
        """Give the lease of that id back; raises like :meth:`build`, where it has ended too."""
        self._json("DELETE", f"{_address_of(build_path)}/leases/{quote(lease, safe='')}")

    def cancel(self, build_path: str) -> Build:
        """Stop what is being staged of a build; returns once it has stopped.

        Raises like :meth:`start`, where nothing of it is being staged too.
        """
        build: Build = self._json("POST", f"{_address_of(build_path)}/cancel", "build")
        return build

    def catalogue(self) -> list[CatalogueArtifact]:
        """The artifacts that the devserver knows; raises like :meth:`start`."""
        entries: list[CatalogueArtifact] = self._json("GET", "/artifacts", "artifacts")["artifacts"]
        return entries

    def health(self) -> dict[str, float]:
        """How the devserver is doing, as ``/check_health`` says it; raises like :meth:`start`."""
        figures: dict[str, float] = self._json("GET", "/health")
        return figures

    def version(self) -> str:
        """Which devserver this is; raises like :meth:`start`."""
        return str(self._json("GET", "/version", "version")["version"])

    def _ask(self, method: str, query: Mapping[str, str], timeout: float | None) -> str:
        """The text of an RPC's answer."""
        return self._answer("GET", method, timeout, params=query).text

    def _json(self, method: str, path: str, member: str = "", **request: Any) -> Any:
        """What the JSON API answers: an object that has this ``member``, or nothing where none is named."""
        try:
            answer = self._answer(method, _API + path, _ANSWER_TIMEOUT, **request)
            content = answer.json() if answer.content else {}
        except StillStaging:
            raise ServerUnreachable(f"{self._url} does not answer") from None
        except requests.JSONDecodeError:
            content = None
        if not isinstance(content, dict) or (member and member not in content):
            raise ServerUnreachable(f"{self._url} does not answer as a devserver does")
        return content

    def _answer(self, method: str, path: str, timeout: float | None, **request: Any) -> requests.Response:
        """The answer to a request; a server that is not there, or has no room, is asked again for a while."""
        retry, named = _Retry(timeout, self._patience), self._headers()
        while True:
            left = retry.seconds_left()
            connecting = _CONNECT_TIMEOUT if left is None else min(_CONNECT_TIMEOUT, left)
            try:
                with _session() as session:
                    options = {"timeout": (connecting, left), **self._access.of_a_request, **request}
                    answer = session.request(method, self._url + path, headers=named, **options)
                if 200 <= answer.status_code < 300:
                    return answer
                error = _error_of(answer)
            except requests.ReadTimeout:
                raise StillStaging(f"no answer after {timeout:g} s; the devserver goes on") from None
            except requests.RequestException as cause:
                error = _unreachable(self._url, cause)
            if not isinstance(error, ServerUnreachable | ServerBusy):
                raise error
            retry.wait_after(error)

    def _headers(self) -> dict[str, str]:
        """The header that names one call, however often it is tried."""
        return {"X-Request-ID": self._request_id or secrets.token_hex(6)}


class _Access(NamedTuple):
    """What goes along with every request: the token, and whose certificates are trusted."""

    token: str | None
    ca: str | None

    @property
    def of_a_request(self) -> dict[str, Any]:
        """The options of a request; named with each, for requests' own environment comes before a session's."""
        auth = {} if self.token is None else {"auth": _Bearer(self.token)}
        return auth if self.ca is None else {**auth, "verify": self.ca}


class _Bearer(AuthBase):
    """Sends a token. A header alone would give way to what a .netrc file says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """See requests' own class."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Retry:
    """When a request is made again, and until when."""

    def __init__(self, timeout: float | None, patience: float) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._until = time.monotonic() + patience
        self._failures = 0

    def seconds_left(self) -> float | None:
        """Of the caller's own time; None where that has no end."""
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def wait_after(self, error: ClientError) -> None:
        """Wait, after a failure, as long as that asks for; raises ``error`` where there is no time for another try."""
        self._failures += 1
        pause = getattr(error, "retry_after", 0.0) or min(0.25 * 2.0**self._failures, _LONGEST_PAUSE)
        ends = self._until if self._deadline is None else min(self._until, self._deadline)
        if time.monotonic() + pause > ends:
            raise error
        time.sleep(pause)


def _why(error: BaseException) -> str:
    """Why a server cannot be reached, in the system's words; the HTTP library wraps them in errors of its own."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    wrapped: list[object] = [error]
    for one in wrapped:  # it grows meanwhile
        if isinstance(one, socket.gaierror):
            return "the name is not known"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
        if isinstance(one, BaseException) and len(wrapped) < _MOST_WRAPPED:
            wrapped += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return "the connection broke off" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _session() -> requests.Session:
    session = requests.Session()
    session.mount("http://", _Adapter())
    session.mount("https://", _Adapter())
    return session


class _Adapter(HTTPAdapter):
    """Connections that notice a server that is no more."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """See requests' own adapter."""
        super().init_poolmanager(*args, **options, socket_options=_KEEPALIVE)


def _unreachable(url: str, error: requests.RequestException) -> ServerUnreachable:
    """What it means that a request did not get as far as an answer.

    Raises:
        ServerUnreachable: itself, where it would be no better the next time.

    """
    if _UNTRUSTED in str(error):
        raise ServerUnreachable(f"{url} has a certificate that is not trusted here; ca= names a file of those that are")
    return ServerUnreachable(f"{url} cannot be reached: {_why(error)}")


def _address_of(build_path: str) -> str:
    return f"/builds/{quote(build_path, safe='')}"


def _named(archive_url: str, artifacts: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    return {"archive_url": archive_url, "artifacts": ",".join(artifacts), "files": ",".join(files)}


def _leased(lease: str | float | None, holder: str) -> dict[str, str]:
    return {} if lease is None else {"lease": str(lease), "holder": holder}


def _error_of(answer: requests.Response) -> ClientError:
    """What an answer that is an error says, on whichever of the two kinds of page."""
    if "json" in answer.headers.get("Content-Type", ""):
        details = answer.json()
        cause = f"{details.get('title', '')}: {details.get('detail', '')}"
    else:
        match = _CAUSE.search(answer.text)
        cause = unescape(match[1]) if match else f"status {answer.status_code}"
    if answer.status_code == 503:
        return ServerBusy(cause, _seconds(answer.headers.get("Retry-After", "")))
    if cause.startswith(_STOPPING):  # a new one will follow
        return ServerUnreachable(cause)
    if answer.status_code == 502:  # of the web server in front, while the devserver is starting anew
        return ServerUnreachable(cause)
    if answer.status_code == 504:
        return StillStaging(cause)
    return StagingFailed(cause) if answer.status_code >= 500 else RequestRefused(cause)


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_PAUSE) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _streamed(
    address: str, last_id: str, headers: dict[str, str], access: _Access
) -> Iterator[tuple[str, StatusEvent]]:
    """The events of one connection, behind the one that ``last_id`` names."""
    headers = {**headers, "Last-Event-ID": last_id} if last_id else headers
    timeout = (_CONNECT_TIMEOUT, _STREAM_SILENCE)
    options = {"headers": headers, "stream": True, "timeout": timeout, **access.of_a_request}
    with _session() as session, session.get(address, **options) as answer:
        if answer.status_code != 200:
            raise _error_of(answer)
        yield from _parsed_events(answer)


def _parsed_events(answer: requests.Response) -> Iterator[tuple[str, StatusEvent]]:
    """The events of a stream, with their numbers (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if not line and "data" in fields:
            yield fields.get("id", ""), StatusEvent(fields.get("event", ""), json.loads(fields["data"]))
        if not line:
            fields = {}
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
