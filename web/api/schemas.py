"""What goes over the wire as JSON: the schemas, and the data that is of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from artifacts.catalogue import CatalogueEntry
from staging.errors import DevServerError
from staging.holds import LONGEST_HOLDER, LONGEST_LEASE, SHORTEST_LEASE, Lease
from staging.overview import ArtifactView, BuildView
from staging.status import State

Json = dict[str, Any]

_STRING: Json = {"type": "string"}
_BYTES: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": ["string", "null"], "format": "date-time"}
_STATE: Json = {"type": "string", "enum": [state.value for state in State]}

_LEASE_SECONDS: Json = {"type": "number", "minimum": SHORTEST_LEASE, "maximum": LONGEST_LEASE}


def _object(description: str, **properties: Json) -> Json:
    """The schema of an object that has all of the ``properties``, and no others."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(name: str) -> Json:
    return {"type": "array", "items": reference(name)}


def reference(name: str) -> Json:
    """The schema ``name``, by reference."""
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: Mapping[str, Json] = {
    "Problem": {
        "type": "object",
        "description": "What went wrong, as problem details (RFC 9457).",
        "properties": {
            "type": {"type": "string", "description": "Stable: urn:devserver:error: and the kind."},
            "title": _STRING,
            "status": {"type": "integer"},
            "detail": _STRING,
        },
        "required": ["type", "title", "status", "detail"],
    },
    "Cause": _object("Why something failed.", kind=_STRING, text=_STRING),
    "Artifact": _object(
        "One artifact of a build. Bytes are those of its objects, as fetched from the archive.",
        name=_STRING,
        state=_STATE,
        bytes_done=_BYTES,
        bytes_total=_BYTES,
        files={"type": "integer", "minimum": 0, "description": "How many it published."},
        size={"type": "integer", "minimum": 0, "description": "Bytes on disk, of those files."},
        staged_at=_TIME,
        cause={"anyOf": [reference("Cause"), {"type": "null"}]},
        trouble={
            "type": "string",
            "description": "What is being tried again at the moment, and why; empty where all goes well.",
        },
    ),
    "Build": _object(
        "One build.",
        build=_STRING,
        archive_url=_STRING,
        state=_STATE,
        under_way={"type": "boolean", "description": "Whether something of it is being staged."},
        complete={"type": "boolean", "description": "Whether all that /download stages is here."},
        in_part={
            "type": "boolean",
            "description": "Whether some of what /download stages is here and not all, and nothing is under way.",
        },
        size={"type": "integer", "minimum": 0, "description": "Bytes on disk, of the files that were published."},
        bytes_done=_BYTES,
        bytes_total=_BYTES,
        seconds_left={"type": ["number", "null"], "description": "What is under way will take so long; null: unknown."},
        last_used=_TIME,
        pinned={"type": "boolean", "description": "Whether it stays until it is unpinned."},
        leases=_list_of("Lease"),
        artifacts=_list_of("Artifact"),
    ),
    "Lease": _object(
        "A time for which a build is kept.",
        id=_STRING,
        holder={"type": "string", "description": "Who has it, in a word."},
        until={"type": "string", "format": "date-time"},
    ),
    "Leases": _object("The leases of a build that have not ended.", leases=_list_of("Lease")),
    "NewLease": {
        "type": "object",
        "description": "How long to keep a build, and for whom.",
        "properties": {
            "seconds": _LEASE_SECONDS,
            "holder": {"type": "string", "maxLength": LONGEST_HOLDER, "pattern": r"^[ -~]*$"},
        },
        "required": ["seconds"],
        "additionalProperties": False,
    },
    "LeaseTerm": {
        "type": "object",
        "description": "How long to keep a build from now on.",
        "properties": {"seconds": _LEASE_SECONDS},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    "Builds": _object(
        "A page of builds.",
        builds=_list_of("Build"),
        next={"type": ["string", "null"], "description": "Give it as after= to get the next page; null: the last."},
    ),
    "NewBuild": {
        "type": "object",
        "description": "What to stage. Without artifacts and files: all that /download stages.",
        "properties": {
            "archive_url": {
                "type": "string",
                "pattern": r"^(gs|file)://[^\\?#\x00-\x1f\x7f-\x9f]+$",
                "examples": ["gs://bucket/target/version"],
            },
            "artifacts": {"type": "array", "items": {"type": "string", "description": "See /artifacts."}},
            "files": {
                "type": "array",
                "items": {"type": "string", "pattern": r"^[^/\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"},
                "description": "Names; * and ? are the shell's.",
            },
            "clean": {"type": "boolean", "description": "Remove what is staged of the build first."},
        },
        "required": ["archive_url"],
        "additionalProperties": False,
    },
    "CatalogueArtifact": _object(
        "An artifact of the catalogue.",
        name=_STRING,
        pattern=_STRING,
        synchronous={"type": "boolean", "description": "Staged before /download answers."},
        required={"type": "boolean", "description": "A build without it is not complete."},
        on_request={"type": "boolean", "description": "Staged only when it is asked for by name."},
        unpack={"type": "boolean"},
    ),
    "Catalogue": _object("The catalogue.", artifacts=_list_of("CatalogueArtifact")),
    "Event": {
        "type": "object",
        "description": "One server-sent event. Of several of a build's present state, the last has an id.",
        "properties": {
            "id": {"type": "string", "description": "For Last-Event-ID."},
            "event": {"type": "string", "enum": ["artifact", "outcome", "removed"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    },
    "Health": {"type": "object", "description": "As /check_health.", "additionalProperties": {"type": "number"}},
    "Version": _object("The devserver.", name=_STRING, version=_STRING),
}


def build_json(view: BuildView) -> Json:
    """A build, as ``Build`` has it."""
    return {
        "build": view.build_path,
        "archive_url": view.archive_url,
        "state": view.state.value,
        "under_way": view.is_under_way,
        "complete": view.is_complete,
        "in_part": view.is_in_part,
        "size": view.size,
        "bytes_done": view.bytes_done,
        "bytes_total": view.bytes_total,
        "seconds_left": view.seconds_left,
        "last_used": _time(view.last_used),
        "pinned": view.holds.is_pinned,
        "leases": [lease_json(lease) for lease in view.holds.leases],
        "artifacts": [artifact_json(artifact) for artifact in view.artifacts],
    }


def lease_json(lease: Lease) -> Json:
    """A lease, as ``Lease`` has it."""
    return {"id": lease.id, "holder": lease.holder, "until": _time(lease.until)}


def artifact_json(view: ArtifactView) -> Json:
    """An artifact, as ``Artifact`` has it."""
    return {
        "name": view.name,
        "state": view.state.value,
        "bytes_done": view.bytes_done,
        "bytes_total": view.bytes_total,
        "files": view.files,
        "size": view.size,
        "staged_at": _time(view.staged_at or None),
        "cause": cause_json(view.cause),
        "trouble": view.trouble,
    }


def cause_json(cause: DevServerError | None) -> Json | None:
    """A cause, as ``Cause`` has it."""
    return None if cause is None else {"kind": cause.kind, "text": str(cause)}


def entry_json(entry: CatalogueEntry) -> Json:
    """An entry of the catalogue, as ``CatalogueArtifact`` has it."""
    return {key: getattr(entry, key) for key in SCHEMAS["CatalogueArtifact"]["properties"]}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat()
