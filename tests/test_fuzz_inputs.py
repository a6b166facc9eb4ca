"""The targets of `make fuzz`: what real tools make, and what a search found, is read without breaking a promise."""

from __future__ import annotations

import random
from pathlib import Path
from threading import Event

import pytest

from campaigns.fuzz import seeds
from campaigns.fuzz.targets import TARGETS
from staging.errors import BadTarball
from staging.selection import EVERYTHING
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip

FOUND = Path(__file__).with_name("fuzz_inputs")
VARIANTS = 5  # of each seed


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("seeds")
    seeds.make(directory)
    return directory


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_what_they_become_are_read_or_refused(target: str, corpus: Path) -> None:
    read = TARGETS[target].read
    chance = random.Random(target)
    files = sorted((corpus / target).iterdir())
    assert files
    for file in files:
        content = file.read_bytes()
        assert content, f"{file.name} was not made"
        read(content)
        for _ in range(VARIANTS):
            read(changed(content, chance))


def changed(content: bytes, chance: random.Random) -> bytes:
    """The same with a piece taken out, doubled or filled with something else."""
    start = chance.randrange(len(content))
    stop = min(len(content), start + chance.choice([1, 2, 8, 40]))
    piece = chance.choice([b"", content[start:stop] * 2, chance.randbytes(stop - start)])
    return content[:start] + piece + content[stop:]


@pytest.mark.parametrize("file", sorted(FOUND.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_what_a_search_found_is_read_or_refused(file: Path) -> None:
    TARGETS[file.parent.name].read(file.read_bytes())


@pytest.mark.parametrize("name", ["begins-before-the-file", "begins-behind-the-file", "has-no-name"])
def test_a_zip_whose_member_is_nowhere_or_nameless_is_refused_and_nothing_else_blamed(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(BadTarball):
        unpack_zip(FOUND / "zip_file" / name, "x.zip", tmp_path / "x", EVERYTHING, UnpackLimits(), Event())
