"""How much room artifacts will take, told from what the archive lists of them."""

from __future__ import annotations

from collections.abc import Iterable

from artifacts.job import GatheredArtifact
from staging.room import Coming

# How many bytes are unpacked from one, where no build on the disk tells: at the upper end of what compressed tarballs
# of programs and tests have. Too much takes room from a build that nobody used for long; too little fills the disk.
_GROWTH = 4.0
_UNCOMPRESSED = ".tar"


def coming(artifacts: Iterable[GatheredArtifact], keep_objects: bool) -> list[Coming]:
    """The artifacts as those that make room want to know them; ``keep_objects`` says whether tarballs stay, too."""
    return [
        Coming(artifact.entry.name, sum(item.size for item in artifact.objects), _growth(artifact, keep_objects))
        for artifact in artifacts
    ]


def _growth(artifact: GatheredArtifact, keep_objects: bool) -> float:
    if not artifact.entry.unpack:
        return 1.0
    is_packed = any(not item.name.endswith(_UNCOMPRESSED) for item in artifact.objects)
    return (_GROWTH if is_packed else 1.0) + keep_objects
