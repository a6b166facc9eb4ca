"""What the JSON API answers, as types."""

from __future__ import annotations

from typing import TypedDict


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
    trouble: str


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
