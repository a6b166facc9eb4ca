"""Where an experiment takes place, and the one step that several of them take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.archive.data import BenchData
from bench.archive.index import IndexedObject
from bench.archive.profiles import Profile
from bench.checkout import THIS, Checkout
from bench.fetching import peers
from bench.processes import run
from bench.samples import Sample
from demo.reference_build import BUILD_PATH

NO_SETTINGS: Mapping[str, int] = {}


@dataclass(frozen=True)
class Setting:
    """Where an experiment takes place: what is fetched, the archive's address, how far away that is, and whose commit's
    devserver is measured.
    """

    data: BenchData
    archive: str
    profile: Profile
    is_quick: bool
    checkout: Checkout = THIS

    @property
    def build(self) -> dict[str, IndexedObject]:
        """The reference build's objects, by name."""
        return self.data.objects(BUILD_PATH)


def by_python(
    setting: Setting,
    way: str,
    path: str,
    directory: Path,
    names: Sequence[str],
    settings: Mapping[str, int] = NO_SETTINGS,
) -> Sample:
    """The seconds that the fetcher itself took: an interpreter's start and its imports are not among them."""
    log = directory / "log"
    run(peers.fetcher(setting.checkout, way, setting.archive, path, directory, names, settings), log)
    seconds = json.loads(log.read_text().splitlines()[-1])
    return Sample(seconds["wall"], seconds["cpu"])
