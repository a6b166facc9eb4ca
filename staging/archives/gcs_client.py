"""The client of this process: whose credentials go along with its requests, and which connections it keeps."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from threading import Lock
from time import monotonic
from typing import Any

import google.auth
import requests
from google.auth import _cloud_sdk, compute_engine, environment_vars
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from urllib3.connection import HTTPConnection

from staging.archives.refusals import MOST_BYTES, Refusal

# Connections that one process keeps open. It rarely has more reads under way; those beyond open one of their own.
_CONNECTIONS = 256
# Seconds without a request after which no connection is used again: what lies between here and the archive forgets
# those that are silent, and says nothing.
_LONGEST_REST = 30.0
# Probes tell of a dead connection that lies among others in use: after so many seconds, so often, and so many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_LOOK_AGAIN = (
    10.0  # seconds after a search for credentials before a 401 makes for another one: a search may take as long
)
_NOBODY: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
_DEFAULT_UNIVERSE = "googleapis.com"
_EMULATOR, _ENDPOINT = "STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE"  # variables of Google's client
_NO_ACCOUNT = 404  # what the metadata server of a machine answers that has no service account

Query = Mapping[str, str]


class CredentialsUnusable(Exception):
    """The credentials that this machine has are no good: the message says why, and names no path."""


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections whose other end may go away without a word."""

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        super().init_poolmanager(*args, socket_options=_SOCKET_OPTIONS, **settings)

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        return super().proxy_manager_for(proxy, socket_options=_SOCKET_OPTIONS, **settings)


_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, *option) for option in _KEEPALIVE),
]


class ArchiveClient:
    """Google's client, with what is known of its credentials.

    Attributes:
        client: Google's.
        base: what the addresses of the archive begin with.
        is_anonymous: whether it sends no credentials.
        may_find_more: whether there may be credentials at another time.
        payers: the buckets whose readers pay.

    """

    def __init__(self, client: storage.Client, is_anonymous: bool = False, may_find_more: bool = False) -> None:
        self.client = client
        self.is_anonymous = is_anonymous
        self.may_find_more = may_find_more
        self.process = os.getpid()
        self.payers: set[str] = set()
        self._files = _stamp()
        self._made_at = self._used_at = monotonic()
        self._session = client._http
        for scheme in ("http://", "https://"):
            if type(self._session.get_adapter(scheme)) is requests.adapters.HTTPAdapter:  # none with a certificate
                self._session.mount(scheme, _Adapter(pool_connections=4, pool_maxsize=_CONNECTIONS))
        for session in (self._session, self._session._auth_request_session):
            session.auth = _as_it_is
        connection = client._connection
        self.base = connection.get_api_base_url_for_mtls().rstrip("/")
        self.version = connection.API_VERSION

    @property
    def is_current(self) -> bool:
        """Whether it is this process's, and its credentials' file is as it was."""
        return self.process == os.getpid() and self._files == _stamp()

    @property
    def may_look_again(self) -> bool:
        """Whether somebody may look for credentials once more, which takes seconds where there are none."""
        return self.may_find_more and monotonic() - self._made_at > _LOOK_AGAIN

    @property
    def token(self) -> str:
        """What it sends, for not to be told to anybody."""
        return str(getattr(self.client._credentials, "token", None) or "")

    def get(self, path: str, query: Query, headers: Mapping[str, str], timeout: tuple[float, float]) -> Any:
        """The answer to a GET, whose body is yet to be read."""
        now = monotonic()
        if now - self._used_at > _LONGEST_REST:
            self.drop_connections()
        self._used_at = now
        try:
            return self._session.get(f"{self.base}{path}", params=query, headers=headers, stream=True, timeout=timeout)
        except requests.RequestException:  # the other connections may be as dead as this one
            self.drop_connections()
            raise

    def drop_connections(self) -> None:
        """Use no connection again that is not in use now."""
        self._session.close()
        self._session._auth_request_session.close()


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request's authentication to Google's client: else a .netrc file would replace its token."""
    return request


_lock = Lock()
_current: ArchiveClient | None = None


def current_client() -> ArchiveClient:
    """The client of this process: made anew in a forked one, and when the file of the credentials has changed."""
    global _current
    client = _current
    if client is None or not client.is_current:
        with _lock:
            client = _current
            if client is None or not client.is_current:
                client = _current = _made()
    return client


def current_token() -> str:
    """What the client sends at the moment, which nobody is to be told; empty where it sends nothing."""
    return _current.token if _current is not None else ""


def forget_client(client: ArchiveClient | None = None) -> None:
    """Have the next request look for credentials anew, unless somebody did so since ``client`` was made."""
    global _current
    with _lock:
        if client is None or _current is client:
            _current = None


def _go_on_without(client: ArchiveClient) -> None:
    """Send no credentials any more: the machine has none after all."""
    global _current
    with _lock:
        if _current is client:
            _current = ArchiveClient(_anonymous(), is_anonymous=True, may_find_more=True)


def answer_of(
    path: str, bucket: str, query: Query, headers: Mapping[str, str], timeout: tuple[float, float], payer: str = ""
) -> Any:
    """The archive's answer, a success, whose body is yet to be read.

    The project ``payer`` goes along where the bucket wants one.

    Raises:
        Refusal: it is no success.
        auth.GoogleAuthError, CredentialsUnusable, requests.RequestException, OSError

    """
    while True:
        client = current_client()
        asked = {**query, "userProject": payer} if payer and bucket in client.payers else query
        try:
            response = client.get(path, asked, headers, timeout)
        except auth.InvalidOperation:  # what anonymous credentials say to a 401
            if not client.may_look_again:
                raise
            forget_client(client)
            continue
        except auth.RefreshError as error:
            if client.is_anonymous or not _has_no_account(client, error):
                raise
            _go_on_without(client)
            continue
        if response.status_code in (200, 206):
            return response
        refusal = _refusal(response)
        if not (payer and refusal.wants_a_payer and bucket not in client.payers):
            raise refusal
        client.payers.add(bucket)


def _refusal(response: Any) -> Refusal:
    with response:
        body = response.raw.read(MOST_BYTES, decode_content=True)
    return Refusal.of(response.status_code, response.headers, body)


def _has_no_account(client: ArchiveClient, error: auth.RefreshError) -> bool:
    """Whether the machine has no service account, as its metadata server says."""
    is_of_machine = isinstance(client.client._credentials, compute_engine.Credentials)
    return is_of_machine and status_in(error) == _NO_ACCOUNT


def status_in(error: BaseException) -> int | None:
    """The HTTP status that an error of the credentials tells of; None where it tells of none."""
    link: BaseException | None = error
    while link is not None:
        for argument in link.args:
            if isinstance(status := getattr(argument, "status", None), int):
                return status
        link = link.__cause__
    return None


def _made() -> ArchiveClient:
    """A client with the default credentials, or with none where the machine has none."""
    if os.environ.get(_EMULATOR):
        return ArchiveClient(_anonymous(_address(_EMULATOR)), is_anonymous=True)
    try:
        credentials, _ = google.auth.default(scopes=storage.Client.SCOPE)
    except auth.DefaultCredentialsError as error:
        if _is_named() or os.path.exists(_file()):  # noqa: PTH110 - somebody named credentials, and they are no good
            raise CredentialsUnusable(_without_path(error)) from error
        return ArchiveClient(_anonymous(_address(_ENDPOINT)), is_anonymous=True, may_find_more=True)
    except OSError as error:
        raise CredentialsUnusable(f"{_name()} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CredentialsUnusable(f"{_name()} holds no credentials") from error
    return ArchiveClient(_with(credentials))


def _with(credentials: Any) -> storage.Client:
    """Google's client, for the universe that the credentials are of."""
    options = {}
    if credentials.universe_domain != _DEFAULT_UNIVERSE:
        options["universe_domain"] = credentials.universe_domain
    if address := _address(_ENDPOINT):
        options["api_endpoint"] = address
    try:
        return storage.Client(project=None, credentials=credentials, client_options=options or None)
    except ValueError as error:
        raise CredentialsUnusable(_without_path(error)) from error


def _anonymous(address: str = "") -> storage.Client:
    options = {"api_endpoint": address} if address else None
    client = storage.Client(project="<none>", credentials=_NOBODY, client_options=options)
    client.project = None  # reading belongs to no project
    return client


def _address(variable: str) -> str:
    """The address that a variable has, with a scheme and without a slash at its end."""
    text = os.environ.get(variable, "").strip().rstrip("/")
    return text if not text or "://" in text else f"http://{text}"


def _is_named() -> bool:
    return bool(os.environ.get(environment_vars.CREDENTIALS))


def _file() -> str:
    """The file of the credentials, which need not be there."""
    named = os.environ.get(environment_vars.CREDENTIALS)
    return named or str(_cloud_sdk.get_application_default_credentials_path())  # type: ignore[no-untyped-call]


def _name() -> str:
    """What to call that file."""
    return f"the file of {environment_vars.CREDENTIALS}" if _is_named() else os.path.basename(_file())  # noqa: PTH119


def _without_path(error: Exception) -> str:
    return str(error.args[0] if error.args else error).replace(_file(), f"({_name()})")


def _stamp() -> tuple[int, int, int] | None:
    """What tells whether the file of the credentials is another one; None where there is none."""
    try:
        status = os.stat(_file())  # noqa: PTH116 - with every request
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
