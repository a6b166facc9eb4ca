"""Whatever directories, files and links a tarball holds, in whatever order, nothing of its tree leads out of it."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from staging.errors import BadTarball
from staging.extraction import _Unpacking
from staging.selection import Selection
from staging.tar_stream import TarStream
from staging.tree import TreeWriter, UnpackLimits

KINDS = (tarfile.DIRTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE)
LINKS = ("..", ".", "a/..", "a/../..", "b/..", "a/b", "b/a", "../a", "a/b/../..", "../b/..", "b")


def random_name(chance: random.Random) -> str:
    return "/".join(chance.choice("ab") for _ in range(chance.randrange(1, 4)))


def random_member(chance: random.Random) -> tarfile.TarInfo:
    info = tarfile.TarInfo(random_name(chance))
    info.type = chance.choice(KINDS)
    info.linkname = random_name(chance) if info.type == tarfile.LNKTYPE else chance.choice(LINKS)
    return info


def packed(members: list[tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for one in members:
            tar.addfile(one)
    return buffer.getvalue()


def unpack(content: bytes, tree: Path, selection: Selection, skips: bool) -> TreeWriter:
    writer = TreeWriter(tree, "x.tar", UnpackLimits(), leaves_out_unsafe=skips)
    unpacking = _Unpacking(writer, "x.tar", selection)
    unpacking.take_all(TarStream(io.BytesIO(content).read, lambda _: None))
    if unpacking.lacks():
        unpacking.take_what_lacks(TarStream(io.BytesIO(content).read, lambda _: None))
    unpacking.finish()
    return writer


@pytest.mark.parametrize("seed", range(3))
def test_no_link_of_a_tree_leads_out_of_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(300):
        members = [random_member(chance) for _ in range(chance.randrange(2, 9))]
        selection = Selection.of(chance.choice([(), (), ("a",)]), chance.choice([(), (), ("b/a",)]))
        tree = tmp_path / str(number) / "deep" / "tree"
        tree.mkdir(parents=True)
        try:
            writer = unpack(packed(members), tree, selection, skips=chance.random() < 0.8)
        except BadTarball:
            continue
        check_tree(tree, writer, [(one.name, one.type, one.linkname) for one in members])


def check_tree(tree: Path, writer: TreeWriter, members: object) -> None:
    below = list(tree.rglob("*"))
    real = os.path.realpath(tree)
    assert [path for path in below if path.is_symlink() and not is_inside(path, real)] == [], members
    files = {path.relative_to(tree).as_posix() for path in below if path.is_file() and not path.is_symlink()}
    assert files == set(writer.checksums), members
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]
    assert [path.name for path in tree.parent.parent.iterdir()] == ["deep"]


def is_inside(path: Path, root: str) -> bool:
    target = os.path.realpath(path)
    return target == root or target.startswith(f"{root}/")
