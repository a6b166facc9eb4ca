"""Hostile tarballs and zip files: each kind packed by somebody's tool or by hand, and then damaged in several ways."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from campaigns.hostile.packers import BY_HAND, BY_TOOLS
from tests.test_hostile import TARBALLS

SUFFIXES = ("tar", "tgz", "tar.bz2", "tar.xz", "tar.zst", "zip")
_ARTIFACT = """
[[artifact]]
name = "hostile_{name}"
pattern = "hostile.{suffix}"
on_request = true
unpack = true
destination = "unpacked/{name}"
"""


def artifact_of(suffix: str) -> str:
    """The artifact that a file with the suffix is."""
    return f"hostile_{suffix.replace('.', '_')}"


def _catalogue() -> str:
    default = Path(__file__).parents[2] / "artifacts" / "default_catalogue.toml"
    own = (_ARTIFACT.format(name=suffix.replace(".", "_"), suffix=suffix) for suffix in SUFFIXES)
    return default.read_text() + "".join(own)


CATALOGUE = _catalogue()


class HostileFile(NamedTuple):
    """One tarball or zip file: its kind, its suffix, and its bytes."""

    kind: str
    suffix: str
    content: bytes


def hostile_files(source: random.Random) -> Iterator[HostileFile]:
    """Every kind whole, and with bytes lost, changed, doubled and cut off."""
    whole = list(_whole())
    yield from whole
    for file in whole:
        for damage, content in _damaged(file.content, source):
            yield HostileFile(f"{damage}: {file.suffix}", file.suffix, content)


def _whole() -> Iterator[HostileFile]:
    for kind, content in TARBALLS.items():
        yield HostileFile(f"suite: {kind}", "tar.bz2", content)
    for kind, (suffix, content) in BY_HAND.items():
        yield HostileFile(kind, suffix, content)
    for kind, (suffix, script) in BY_TOOLS.items():
        with tempfile.TemporaryDirectory() as folder:
            ran = subprocess.run(["sh", "-euc", script], cwd=folder, check=False, capture_output=True)  # noqa: S607
            packed = Path(folder, f"hostile.{suffix}")
            if ran.returncode or not packed.exists():
                raise RuntimeError(f"{kind}: {ran.stderr.decode(errors='replace')}")
            yield HostileFile(kind, suffix, packed.read_bytes())


def _damaged(content: bytes, source: random.Random) -> Iterator[tuple[str, bytes]]:
    """The content, damaged in four ways, each with its name."""
    half = len(content) // 2
    yield "cut off", content[: source.randrange(len(content) + 1)]
    changed = bytearray(content)
    for _ in range(min(8, len(changed))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    yield "bits changed", bytes(changed)
    yield "noise inside", content[:half] + source.randbytes(min(512, half)) + content[half:]
    yield "twice", content + content
