"""A client of the devserver, for test harnesses: ``Client("http://devserver:8080").download("gs://...")``.

It needs ``requests`` alone, and nothing else of the project.
"""

from web.client.client import Client
from web.client.errors import (
    ClientError,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    StagingFailed,
    StillStaging,
)
from web.client.events import StatusEvent
from web.client.shapes import Artifact, Build, CatalogueArtifact, Cause, Lease

__all__ = [
    "Artifact",
    "Build",
    "CatalogueArtifact",
    "Cause",
    "Client",
    "ClientError",
    "Lease",
    "RequestRefused",
    "ServerBusy",
    "ServerUnreachable",
    "StagingFailed",
    "StatusEvent",
    "StillStaging",
]
