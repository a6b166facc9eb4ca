"""The operations: what can be asked, with which parameters, and what is answered."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import quote

from artifacts.catalogue import Catalogue
from downloader import Downloader, Wish
from staging.errors import InvalidParameter
from staging.holds import BuildHolds, Term, checked_holder
from staging.records.text import data_of
from staging.status import State
from web.access import grants
from web.api.schemas import Json, build_json, entry_json, lease_json
from web.health import HealthSampler
from web.http.clients import client_address
from web.parameters import build_name_of, checked_lease

PREFIX = "/api/v1"
EVENT_STREAM = "text/event-stream"
_LARGEST_PAGE = 1000
_MOST_DIGITS = 10


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request: in its query, or ``{name}`` in its path."""

    name: str
    schema: Json
    description: str
    is_in_path: bool = False


@dataclass(frozen=True)
class Answer:
    """What an operation answers: ``body`` as JSON, or nothing."""

    status: HTTPStatus
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        method, path: what a request for it looks like; the path below ``/api/v1``.
        name: the handler's, and the document's ``operationId``.
        summary: a sentence.
        answers: the schemas of its good answers, by status; None for no body.
        problems: the statuses of its other answers, and when they are given.
        parameters: of the request.
        body: the schema of what the request brings.
        media_type: of the good answers.

    """

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[HTTPStatus, str | None]
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    parameters: Sequence[Parameter] = ()
    body: str = ""
    media_type: str = "application/json"

    @property
    def scope(self) -> str:
        """The scope that the token of who asks has to have, where there are tokens; reading is the gate's matter."""
        if self.method == "GET":
            return ""
        return "remove" if self.name == "remove_build" else "stage"


_BUILD = Parameter(
    "build",
    {"type": "string", "pattern": r"^((gs://|file:///))?[^/\\?#\x00-\x1f\x7f-\x9f]+(/[^/\\?#\x00-\x1f\x7f-\x9f]+)*$"},
    "The build path, as in target/version; or the archive URL, for the build of another bucket that has the same path.",
    is_in_path=True,
)
_LEASE = Parameter("lease", {"type": "string", "pattern": "^[0-9a-f]+$"}, "The lease's id.", is_in_path=True)
_UNKNOWN = "Nothing is known of such a build."
_NO_LEASE = "There is no such build, or lease."
_BAD = "A parameter cannot be used."
_TAKEN = "It is to be cleaned, and pinned or leased."
OPERATIONS = (
    Operation(
        "GET",
        "/builds",
        "list_builds",
        "The builds on this devserver, by path.",
        {HTTPStatus.OK: "Builds"},
        {HTTPStatus.BAD_REQUEST: _BAD},
        (
            Parameter(
                "state", {"type": "string", "enum": [state.value for state in State]}, "Those in this state alone."
            ),
            Parameter("prefix", {"type": "string"}, "Those whose path begins with this alone."),
            Parameter("after", {"type": "string"}, "Those whose path comes after this alone."),
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": _LARGEST_PAGE}, "So many at most; 100."),
        ),
    ),
    Operation(
        "POST",
        "/builds",
        "stage_build",
        "Stage a build, or a part of it; what is under way or staged already is not staged again.",
        {HTTPStatus.ACCEPTED: "Build"},
        {
            HTTPStatus.BAD_REQUEST: "What is asked for cannot be.",
            HTTPStatus.SERVICE_UNAVAILABLE: "As many downloads are under way as may, of all clients or of this one; "
            "or it is stopping. Retry-After says when to ask again.",
            HTTPStatus.FORBIDDEN: "Nothing may be staged from that archive.",
            HTTPStatus.CONFLICT: _TAKEN,
        },
        body="NewBuild",
    ),
    Operation(
        "GET",
        "/builds/{build}/events",
        "get_events",
        "The events of a build, from its present state to its outcome, as a stream of server-sent events: 'artifact' "
        "for every change of an artifact, 'outcome' at the end. Last-Event-ID goes on where a stream was cut off.",
        {HTTPStatus.OK: "Event"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
        media_type=EVENT_STREAM,
    ),
    Operation(
        "GET",
        "/builds/{build}",
        "get_build",
        "One build, with its artifacts.",
        {HTTPStatus.OK: "Build"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
    ),
    Operation(
        "DELETE",
        "/builds/{build}",
        "remove_build",
        "Remove what is staged of a build; who is reading a file reads it to its end.",
        {HTTPStatus.NO_CONTENT: None},
        {
            HTTPStatus.BAD_REQUEST: _BAD,
            HTTPStatus.NOT_FOUND: _UNKNOWN,
            HTTPStatus.CONFLICT: "It is being staged, pinned or leased.",
        },
        (_BUILD,),
    ),
    Operation(
        "POST",
        "/builds/{build}/pin",
        "pin_build",
        "Keep a build until it is unpinned, whatever room is needed.",
        {HTTPStatus.OK: "Build"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
    ),
    Operation(
        "DELETE",
        "/builds/{build}/pin",
        "unpin_build",
        "Keep a build no longer than its leases say.",
        {HTTPStatus.OK: "Build"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
    ),
    Operation(
        "GET",
        "/builds/{build}/leases",
        "list_leases",
        "For whom a build is kept.",
        {HTTPStatus.OK: "Leases"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
    ),
    Operation(
        "POST",
        "/builds/{build}/leases",
        "lease_build",
        "Keep a build for some time, whatever room is needed.",
        {HTTPStatus.CREATED: "Lease"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN},
        (_BUILD,),
        body="NewLease",
    ),
    Operation(
        "PUT",
        "/builds/{build}/leases/{lease}",
        "renew_lease",
        "Have a lease end so many seconds from now.",
        {HTTPStatus.OK: "Lease"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _NO_LEASE},
        (_BUILD, _LEASE),
        body="LeaseTerm",
    ),
    Operation(
        "DELETE",
        "/builds/{build}/leases/{lease}",
        "release_lease",
        "Give a lease back.",
        {HTTPStatus.NO_CONTENT: None},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _NO_LEASE},
        (_BUILD, _LEASE),
    ),
    Operation(
        "POST",
        "/builds/{build}/cancel",
        "cancel_build",
        "Stop what is being staged of a build; answers once it has stopped.",
        {HTTPStatus.OK: "Build"},
        {HTTPStatus.BAD_REQUEST: _BAD, HTTPStatus.NOT_FOUND: _UNKNOWN, HTTPStatus.CONFLICT: "It is not being staged."},
        (_BUILD,),
    ),
    Operation(
        "GET",
        "/events",
        "get_all_events",
        "The events of all builds, for as long as the client listens: first the present state of those that are being "
        "staged, then every 'artifact' event, and 'removed' for a build that was. Last-Event-ID as for one build.",
        {HTTPStatus.OK: "Event"},
        media_type=EVENT_STREAM,
    ),
    Operation("GET", "/artifacts", "list_artifacts", "The artifacts of the catalogue.", {HTTPStatus.OK: "Catalogue"}),
    Operation("GET", "/health", "get_health", "How the server is doing.", {HTTPStatus.OK: "Health"}),
    Operation("GET", "/version", "get_version", "Which devserver this is.", {HTTPStatus.OK: "Version"}),
)


class Handlers:
    """What the operations do; a method for each, named like it."""

    def __init__(
        self,
        downloader: Downloader,
        holds: BuildHolds,
        catalogue: Catalogue,
        health: HealthSampler,
        version: str,
    ) -> None:
        self._downloader = downloader
        self._holds = holds
        self._catalogue = catalogue
        self._health = health
        self._version = version

    def list_builds(self, state: str | None = None, prefix: str = "", after: str = "", limit: str = "100") -> Answer:
        """A page of builds."""
        if state is not None and state not in {one.value for one in State}:
            raise InvalidParameter("state", f"{state!r} is none of {', '.join(one.value for one in State)}")
        most = _whole_number("limit", limit, _LARGEST_PAGE)
        # The whole of a bucket, of which somebody asked for files, has no path to be listed by.
        rest = self._downloader.list.now().after(after, prefix)
        found = list(islice((one for one in rest if state in (None, one.state.value)), most + 1))
        following = found[most - 1].build_path if len(found) > most else None
        views = self._downloader.list.views(found[:most])
        return Answer(HTTPStatus.OK, {"builds": [build_json(view) for view in views], "next": following})

    def stage_build(self, body: Json) -> Answer:
        """Start staging."""
        if body.get("clean", False):
            grants.require("remove")
        wish = Wish(tuple(body.get("artifacts", ())), tuple(body.get("files", ())))
        path = self._downloader.start_staging(body["archive_url"], wish, body.get("clean", False), client_address())
        location = f"{PREFIX}/builds/{quote(path, safe='')}"
        return Answer(HTTPStatus.ACCEPTED, build_json(self._downloader.build(path)), {"Location": location})

    def get_build(self, build: str) -> Answer:
        """One build."""
        return Answer(HTTPStatus.OK, build_json(self._downloader.build(self.name_of(build))))

    def remove_build(self, build: str) -> Answer:
        """Remove one."""
        self._downloader.remove(self.name_of(build))
        return Answer(HTTPStatus.NO_CONTENT)

    def cancel_build(self, build: str) -> Answer:
        """Cancel its downloads."""
        path = self.name_of(build)
        self._downloader.cancel(path)
        return Answer(HTTPStatus.OK, build_json(self._downloader.build(path)))

    def pin_build(self, build: str) -> Answer:
        """Pin one."""
        self._holds.pin(self.name_of(build))
        return self.get_build(build)

    def unpin_build(self, build: str) -> Answer:
        """Unpin it."""
        self._holds.unpin(self.name_of(build))
        return self.get_build(build)

    def list_leases(self, build: str) -> Answer:
        """The leases of one."""
        leases = self._holds.of(self.name_of(build)).leases
        return Answer(HTTPStatus.OK, {"leases": [lease_json(lease) for lease in leases]})

    def lease_build(self, build: str, body: Json) -> Answer:
        """Lease one."""
        holder = checked_holder("holder", body.get("holder", ""))
        path = self.name_of(build)
        lease = self._holds.lease(path, Term(checked_lease("seconds", body["seconds"]), holder))
        location = f"{PREFIX}/builds/{quote(path, safe='')}/leases/{lease.id}"
        return Answer(HTTPStatus.CREATED, lease_json(lease), {"Location": location})

    def renew_lease(self, build: str, lease: str, body: Json) -> Answer:
        """Renew a lease."""
        seconds = checked_lease("seconds", body["seconds"])
        return Answer(HTTPStatus.OK, lease_json(self._holds.renew(self.name_of(build), lease, seconds)))

    def release_lease(self, build: str, lease: str) -> Answer:
        """Give one back."""
        self._holds.release(self.name_of(build), lease)
        return Answer(HTTPStatus.NO_CONTENT)

    def name_of(self, build: str) -> str:
        """What the build is called that is named by its path or its archive URL."""
        return build_name_of(self._downloader.name_of, build)

    def list_artifacts(self) -> Answer:
        """The catalogue."""
        return Answer(HTTPStatus.OK, {"artifacts": [entry_json(entry) for entry in self._catalogue.entries]})

    def get_health(self) -> Answer:
        """The server's health."""
        return Answer(HTTPStatus.OK, self._health.latest())

    def get_version(self) -> Answer:
        """The server's version."""
        return Answer(HTTPStatus.OK, {"name": "devserver", "version": self._version})


def parsed_body(schema: Json, content: bytes) -> Json:
    """The body of a request, which has to be of ``schema``: an object of strings, numbers, booleans and lists of
    strings.

    Raises:
        InvalidParameter: says what is wrong with it.

    """
    try:
        body = data_of(content.removeprefix(BOM_UTF8))  # which some editors and shells begin with
    except (ValueError, RecursionError):
        raise InvalidParameter("body", "it is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidParameter("body", "it should be an object")
    for name in schema["required"]:
        if name not in body:
            raise InvalidParameter(name, "it is missing")
    for name, value in body.items():
        if name not in schema["properties"]:
            raise InvalidParameter(name, f"there is no such property; there are {', '.join(schema['properties'])}")
        if not _is_of_type(value, schema["properties"][name]["type"]):
            raise InvalidParameter(name, f"it should be {_TYPES[schema['properties'][name]['type']]}")
    return body


_TYPES = {"string": "a string", "boolean": "true or false", "array": "a list of strings", "number": "a number"}


def _is_of_type(value: Any, name: str) -> bool:
    if name == "array":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool}[name])


def _whole_number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and 1 <= int(text) <= most):
        raise InvalidParameter(name, f"{text!r} is no whole number from 1 to {most}")
    return int(text)
