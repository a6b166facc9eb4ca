"""A client of the devserver, for test harnesses: ``Client("http://devserver:8080").download("gs://...")``.

It needs ``requests`` alone, and nothing else of the project.
"""

from .addresses import shown
from .client import Client
from .connection import checked_token
from .errors import (
    ClientError,
    NotTrusted,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    StagingFailed,
    StillStaging,
)
from .events import StatusEvent
from .shapes import Artifact, Build, CatalogueArtifact, Cause, Lease

__all__ = [
    "Artifact",
    "Build",
    "CatalogueArtifact",
    "Cause",
    "Client",
    "ClientError",
    "Lease",
    "NotTrusted",
    "RequestRefused",
    "ServerBusy",
    "ServerUnreachable",
    "StagingFailed",
    "StatusEvent",
    "StillStaging",
    "checked_token",
    "shown",
]
