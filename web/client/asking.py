"""One request, made until there is an answer."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import requests

from web.client.connection import CONNECT_TIMEOUT, Access, new_session
from web.client.errors import ClientError, ServerBusy, ServerUnreachable, StillStaging, error_of, unreachable
from web.client.events import LAST_KINDS, StatusEvent, streamed
from web.client.retry import Retry

ANSWER_TIMEOUT = 60.0  # seconds, of what does not wait for anything
_API = "/api/v1"


class Asking:
    """Asks a devserver, for as long as it may be away."""

    def __init__(self, url: str, patience: float, request_id: str, access: Access) -> None:
        """All of it is described at the client's own constructor."""
        self.url = url.rstrip("/")
        self._patience = patience
        self._request_id = request_id
        self._access = access

    def json(self, method: str, path: str, member: str = "", **request: Any) -> Any:
        """What the JSON API answers: an object that has this ``member``, or nothing where none is named."""
        try:
            answer = self.answer(method, _API + path, ANSWER_TIMEOUT, **request)
            content = answer.json() if answer.content else {}
        except StillStaging:
            raise ServerUnreachable(f"{self.url} does not answer") from None
        except requests.JSONDecodeError:
            content = None
        if not isinstance(content, dict) or (member and member not in content):
            raise ServerUnreachable(f"{self.url} does not answer as a devserver does")
        return content

    def answer(self, method: str, path: str, timeout: float | None, **request: Any) -> requests.Response:
        """The answer to a request; a server that is not there, or has no room, is asked again for a while."""
        retry, named = Retry(timeout, self._patience), self._headers()
        while True:
            left = retry.seconds_left()
            connecting = CONNECT_TIMEOUT if left is None else min(CONNECT_TIMEOUT, left)
            try:
                with new_session() as session:
                    options = {"timeout": (connecting, left), **self._access.of_a_request, **request}
                    answer = session.request(method, self.url + path, headers=named, **options)
                if 200 <= answer.status_code < 300:
                    return answer
                error = error_of(answer)
            except requests.ReadTimeout:
                raise StillStaging(f"no answer after {timeout:g} s; the devserver goes on") from None
            except requests.RequestException as cause:
                error = unreachable(self.url, cause)
            if not isinstance(error, ServerUnreachable | ServerBusy):
                raise error
            retry.wait_after(error)

    def events(self, path: str) -> Iterator[StatusEvent]:
        """The events of the JSON API's stream at ``path``, to the last one; what breaks off is gone on with."""
        address = f"{self.url}{_API}{path}"
        last_id, named = "", self._headers()
        retry = Retry(None, self._patience)
        while True:
            try:
                for identity, event in streamed(address, last_id, named, self._access):
                    last_id = identity or last_id
                    retry = Retry(None, self._patience)
                    yield event
                    if event.kind in LAST_KINDS:
                        return
                cause: ClientError = ServerUnreachable(f"{self.url} ended the stream")
            except requests.RequestException as error:
                cause = unreachable(self.url, error)
            except (ServerUnreachable, ServerBusy) as error:
                cause = error
            retry.wait_after(cause)

    def _headers(self) -> dict[str, str]:
        """The header that names one call, however often it is tried."""
        return {"X-Request-ID": self._request_id or secrets.token_hex(6)}
