"""Archives: where builds are published. ``open_archive`` finds the backend of a URL's scheme."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from staging.archives.allowed import EVERY_ARCHIVE, AllowedArchives
from staging.archives.base import Archive, ArchiveObject, Attempt, ObjectStream, RangesIgnored, Wanted, once
from staging.archives.peers import Peers
from staging.archives.url import ArchiveUrl
from staging.paths import UNPRINTABLE

# The backends are imported when first needed: Google's client alone takes a third of a second.
_BACKENDS = {
    "gs": ("staging.archives.gcs", "GcsArchive"),
    "file": ("staging.archives.directory", "DirectoryArchive"),
}

SCHEMES = tuple(_BACKENDS)


def open_archive(url: ArchiveUrl, stall_timeout: float, payer: str = "") -> Archive:
    """The archive of ``url``'s build, where a read that gets no byte for ``stall_timeout`` seconds is given up.

    ``payer`` is the project that pays for what is read of a bucket whose readers pay.
    """
    module, backend = _BACKENDS[url.scheme]
    more = {"payer": payer} if payer and url.scheme == "gs" else {}
    archive: Archive = getattr(import_module(module), backend)(url, stall_timeout, **more)
    return archive


def with_peers(archive: Archive, peers: Peers) -> Archive:
    """``archive``, with the bytes of objects read from those of the ``peers`` that have them."""
    if not peers.are_any:
        return archive
    module: Any = import_module("staging.archives.peer_reads")
    before: Archive = module.PeersFirst(peers, archive)
    return before


__all__ = [
    "EVERY_ARCHIVE",
    "SCHEMES",
    "UNPRINTABLE",
    "AllowedArchives",
    "Archive",
    "ArchiveObject",
    "ArchiveUrl",
    "Attempt",
    "ObjectStream",
    "RangesIgnored",
    "Wanted",
    "once",
    "open_archive",
    "with_peers",
]
