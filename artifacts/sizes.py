"""How much room artifacts will take, told from what the archive lists of them."""

from __future__ import annotations

from collections.abc import Iterable

from artifacts.job import GatheredArtifact
from staging.room import Coming

# How many bytes are unpacked from one, where no build on the disk tells: at the upper end of what compressed tarballs
# of programs and tests have. Too much takes room from a build that nobody used for long; too little fills the disk.
_GROWTH = 4.0
_UNCOMPRESSED = ".tar"


def coming(artifacts: Iterable[GatheredArtifact]) -> list[Coming]:
    """The artifacts as those that make room want to know them."""
    return [
        Coming(artifact.entry.name, sum(item.size for item in artifact.objects), _growth(artifact))
        for artifact in artifacts
    ]


def _growth(artifact: GatheredArtifact) -> float:
    is_packed = any(not item.name.endswith(_UNCOMPRESSED) for item in artifact.objects)
    return _GROWTH if artifact.entry.unpack and is_packed else 1.0
