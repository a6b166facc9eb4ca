"""Zip files as archivers of every kind write them become the trees that were packed, or are refused by name."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from staging.errors import BadTarball
from staging.selection import Selection
from staging.tree import UnpackLimits
from tests.builds import noise
from tests.unpacking import listed, run, unpacked

_UNIX, _DOS, _WINDOWS, _MACOS = 3, 0, 10, 19
CONTENT = noise(50_000, "content")


def member(name: str | bytes, content: bytes = b"content", **fields: Any) -> zipfile.ZipInfo:
    """A member to be written, with fields that an archiver of another system gives it."""
    info = zipfile.ZipInfo("x" * len(name) if isinstance(name, bytes) else name)
    info.create_system = _UNIX
    for key, value in fields.items():
        setattr(info, key, value)
    info.comment = content
    return info


def zipped(*members: zipfile.ZipInfo, names: dict[bytes, bytes] | None = None) -> bytes:
    """A zip file of ``members``; ``names`` are replaced wherever they stand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info in members:
            content, info.comment = info.comment, b""
            archive.writestr(info, content)
    packed = buffer.getvalue()
    for name, other in (names or {}).items():
        assert len(name) == len(other)
        packed = packed.replace(name, other)
    return packed


def unpack(directory: Path, content: bytes, limits: UnpackLimits | None = None) -> dict[str, tuple[str, int, object]]:
    (directory / "x.zip").write_bytes(content)
    unpacked(directory / "x.zip", directory / "tree", limits)
    return listed(directory / "tree")


def cause_of(directory: Path, content: bytes, limits: UnpackLimits | None = None) -> str:
    with pytest.raises(BadTarball) as caught:
        unpack(directory, content, limits)
    return str(caught.value)


def file_of(content: bytes = b"content", mode: int = 0o644) -> tuple[str, int, object]:
    return "file", mode, content


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what a zip file can hold."""
    directory = tmp_path_factory.mktemp("source")
    (directory / "dir" / "sub").mkdir(parents=True)
    (directory / "empty").mkdir()
    (directory / "dir" / "f").write_bytes(CONTENT)
    (directory / "dir" / "sub" / "none").touch()
    (directory / "run").write_bytes(b"#!/bin/sh\n" * 1000)
    (directory / "run").chmod(0o755)
    (directory / "Käse").write_bytes(b"k")
    (directory / "link").symlink_to("dir/f")
    (directory / "dir" / "up").symlink_to("../run")
    return directory


PACKERS = {
    "zip -y": "zip -qry {} .",
    "zip -y -Z bzip2": "zip -qry -Z bzip2 {} .",
    "zip -y -0": "zip -qry -0 {} .",
    "zip -y -fz (zip64)": "zip -qry -fz {} .",
    "zip -y into a pipe": "zip -qry - . | cat >{}",
    "7z": "7z a -bd -tzip {} .",
    "7z -mm=LZMA": "7z a -bd -tzip -mm=LZMA {} .",
    "7z -mm=BZip2": "7z a -bd -tzip -mm=BZip2 {} .",
    "bsdtar": "bsdtar --format=zip -cf {} .",
    "bsdtar into a pipe": "bsdtar --format=zip -cf - . | cat >{}",
}


@pytest.mark.parametrize("packer", PACKERS)
def test_what_an_archiver_packed_comes_out_again(tmp_path: Path, source: Path, packer: str) -> None:
    packed = tmp_path / "x.zip"
    run(source, PACKERS[packer].format(packed))
    unpacked(packed, tmp_path / "tree")
    assert listed(tmp_path / "tree") == listed(source)


def test_links_of_a_zip_file_stay_inside(tmp_path: Path) -> None:
    for number, target in enumerate(["/etc/passwd", "../../x", "a\0b", ""]):
        directory = tmp_path / str(number)
        directory.mkdir()
        link = member("link", target.encode(), external_attr=0o120777 << 16)
        assert "link" in cause_of(directory, zipped(link))
    link = member("link", b"a/" * 3000, external_attr=0o120777 << 16)
    assert "a link to a name that is too long" in cause_of(tmp_path, zipped(link))


@pytest.mark.parametrize("system", [_DOS, _WINDOWS])
def test_backslashes_separate_where_windows_packed(tmp_path: Path, system: int) -> None:
    packed = zipped(member("dirXf", create_system=system), names={b"dirXf": b"dir\\f"})
    assert unpack(tmp_path, packed) == {"dir": ("directory", 0o755, None), "dir/f": file_of()}


def test_a_backslash_is_a_part_of_the_name_where_unix_packed(tmp_path: Path) -> None:
    assert unpack(tmp_path, zipped(member("dir\\f"))) == {"dir\\f": file_of()}


def test_names_that_differ_by_their_slashes_are_one(tmp_path: Path) -> None:
    packed = zipped(member("dir/f", create_system=_DOS))
    local = packed.replace(b"dir/f", b"dir\\f", 1)
    assert unpack(tmp_path, local)["dir/f"] == file_of()


def test_names_below_a_backslash_cannot_leave(tmp_path: Path) -> None:
    packed = zipped(member("..XXx", create_system=_DOS), names={b"..XXx": b"..\\\\x"})
    assert "leaves it" in cause_of(tmp_path, packed)


NAMES = {
    "UTF-8 without the flag": ("Käse".encode(), 0),
    "Latin-1": ("Käse".encode("latin-1"), 0),
    "flagged as UTF-8, which it isn't": (b"\xff\xfe", 0x800),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_is_the_bytes_that_were_packed(tmp_path: Path, kind: str) -> None:
    name, flags = NAMES[kind]
    packed = bytearray(zipped(member(name), member("good"), names={b"x" * len(name): name}))
    directory = packed.index(b"PK\1\2")
    struct.pack_into("<H", packed, 6, flags)
    struct.pack_into("<H", packed, directory + 8, flags)
    assert unpack(tmp_path, bytes(packed)) == {os.fsdecode(name): file_of(), "good": file_of()}


def test_git_gives_a_zip_file_the_names_that_it_gives_a_tarball(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in (b"test.\xc2", "Käse".encode(), b"plain"):
        Path(os.fsdecode(os.fsencode(repository) + b"/" + name)).write_bytes(name)
    git = "git -c user.name=n -c user.email=e -c commit.gpgsign=false"
    run(repository, f"git init -q && git add -A && {git} commit -q -m m")
    run(repository, f"git archive --format=zip -o {tmp_path}/x.zip HEAD")
    run(repository, f"git archive --format=tar -o {tmp_path}/x.tar HEAD")
    unpacked(tmp_path / "x.zip", tmp_path / "zip")
    unpacked(tmp_path / "x.tar", tmp_path / "tar")
    assert listed(tmp_path / "zip") == listed(tmp_path / "tar")
    assert os.fsdecode(b"test.\xc2") in listed(tmp_path / "zip")


def test_the_name_of_the_unicode_field_counts_where_it_is_of_this_name(tmp_path: Path) -> None:
    name = "Käse".encode()
    for number, (crc32, right) in enumerate([(zlib.crc32(b"K?se"), "Käse"), (1, "K?se")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        field = struct.pack("<2HBL", 0x7075, 5 + len(name), 1, crc32) + name
        info = member("K?se")
        info.extra = field
        assert list(unpack(directory, zipped(info))) == [right]


@pytest.mark.parametrize(
    ("system", "attributes", "mode"),
    [
        (_UNIX, 0o100755 << 16, 0o755),
        (_MACOS, 0o100755 << 16, 0o755),
        (_DOS, 0x5A5A0020, 0o644),
        (_DOS, 0o120777 << 16 | 0x20, 0o644),
        (_DOS, 0o100755 << 16 | 0x8020, 0o755),  # as 7-Zip on Windows
        (_UNIX, 0, 0o644),
    ],
)
def test_modes_are_of_unix_where_unix_packed(tmp_path: Path, system: int, attributes: int, mode: int) -> None:
    packed = zipped(member("f", create_system=system, external_attr=attributes))
    assert unpack(tmp_path, packed) == {"f": file_of(mode=mode)}


@pytest.mark.parametrize(("system", "attributes"), [(_DOS, 0x10), (_UNIX, 0o040755 << 16)])
def test_a_directory_may_have_no_slash(tmp_path: Path, system: int, attributes: int) -> None:
    directory = member("d", b"", create_system=system, external_attr=attributes)
    assert unpack(tmp_path, zipped(directory, member("d/x"))) == {"d": ("directory", 0o755, None), "d/x": file_of()}


def test_standard_input_is_a_file(tmp_path: Path) -> None:
    run(tmp_path, "echo dumped | zip -q in.zip -")
    assert unpack(tmp_path, (tmp_path / "in.zip").read_bytes()) == {"-": file_of(b"dumped\n")}


def test_what_is_neither_file_nor_link_is_refused(tmp_path: Path) -> None:
    device = member("null", b"", external_attr=0o020666 << 16)
    assert "'null', which is neither a file nor a directory nor a link" in cause_of(tmp_path, zipped(device))


# What is not read


UNREAD = {
    "is packed with Deflate64, as Windows Explorer does": "7z a -bd -tzip -mm=Deflate64 {} run",
    "is packed with PPMd": "7z a -bd -tzip -mm=PPMd {} run",
    "is encrypted": "zip -qr -P secret {} run",
    "is encrypted ": "7z a -bd -tzip -psecret -mem=AES256 {} run",
}


@pytest.mark.parametrize("words", UNREAD)
def test_a_member_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, source: Path, words: str) -> None:
    run(source, UNREAD[words].format(tmp_path / "made.zip"))
    cause = cause_of(tmp_path, (tmp_path / "made.zip").read_bytes())
    assert "its member 'run' cannot be read: it " + words.strip() in cause


def test_a_split_zip_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(noise(200_000, "big"))
    run(tmp_path, "zip -q -s 64k split.zip big")
    assert "it is the last part of a split zip file" in cause_of(tmp_path, (tmp_path / "split.zip").read_bytes())
    assert "it is the first part of a split zip file" in cause_of(tmp_path, (tmp_path / "split.z01").read_bytes())


METHODS = {
    "deflate": "zip -q {} f",
    "bzip2": "zip -q -Z bzip2 {} f",
    "lzma": "7z a -bd -tzip -mm=LZMA {} f",
    "stored": "zip -q -0 {} f",
}


@pytest.mark.parametrize("where", [0.3, 0.6])
@pytest.mark.parametrize("method", METHODS)
def test_a_broken_member_is_named(tmp_path: Path, method: str, where: float) -> None:
    (tmp_path / "f").write_bytes(b"".join(b"%d " % number for number in range(30_000)))
    run(tmp_path, METHODS[method].format("made.zip"))
    packed = bytearray((tmp_path / "made.zip").read_bytes())
    packed[int(len(packed) * where)] ^= 0x55
    assert "its member 'f' cannot be read: it" in cause_of(tmp_path, bytes(packed))


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_a_zip_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    packed = zipped(member("f", CONTENT))
    assert "it is cut off" in cause_of(tmp_path, packed[:-cut])


def test_a_member_in_zstd_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    frame = run(tmp_path, "zstd -q -c f")
    packed = bytearray(zipped(member("f", frame)))
    directory = packed.index(b"PK\1\2")
    for at, method, crc32, size in ((0, 8, 14, 22), (directory, 10, 16, 24)):
        struct.pack_into("<H", packed, at + method, 93)
        struct.pack_into("<L", packed, at + crc32, zlib.crc32(CONTENT))
        struct.pack_into("<L", packed, at + size, len(CONTENT))
    assert unpack(tmp_path, bytes(packed)) == {"f": file_of(CONTENT)}


# What it may cost


_CLAIM = """
import resource, sys, threading
from pathlib import Path
from typing import Any
from staging.errors import BadTarball
from staging.selection import EVERYTHING
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
archive, target = map(Path, sys.argv[1:])
try:
    unpack_zip(archive, "x.zip", target, EVERYTHING, UnpackLimits(max_files=1000), threading.Event())
except BadTarball as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("claimed", [1, 65535])
def test_a_directory_of_very_many_members_is_refused_in_little_memory(tmp_path: Path, claimed: int) -> None:
    one = zipped(member("f/", b""))
    directory, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    entries = one[directory:end] * 100_000
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, claimed, claimed, len(entries), directory, 0)
    (tmp_path / "x.zip").write_bytes(one[:directory] + entries + last)
    command = [sys.executable, "-c", _CLAIM, str(tmp_path / "x.zip"), str(tmp_path / "tree")]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    assert "more than 1000 files (--unpack-max-files)" in said[0]
    assert int(said[1]) < 8_000  # KiB


def test_a_count_of_members_that_is_too_small_leaves_none_out(tmp_path: Path) -> None:
    packed = bytearray(zipped(*(member(f"f{number}", b"") for number in range(300))))
    end = packed.index(b"PK\5\6")
    struct.pack_into("<2H", packed, end + 8, 300 % 256, 300 % 256)  # as macOS does with 65,536
    assert len(unpack(tmp_path, bytes(packed))) == 300


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    one = zipped(member("a", CONTENT))
    entry, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    entries = one[entry:end] * 3
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(entries), entry, 0)
    assert "it overlaps others" in cause_of(tmp_path, one[:entry] + entries + last)


# Times


def _mtimes(directory: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime for path in directory.iterdir()}


def test_the_time_is_that_of_the_field_that_has_a_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC", "America/Los_Angeles"):
        (tmp_path / "a").touch()
        run(tmp_path, ["env", f"TZ={zone}", "sh", "-c", "touch -d '2001-02-03 04:05:07Z' a; zip -q x.zip a"])
        for here in ("UTC", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", here)
            target = tmp_path / f"{zone}-{here}".replace("/", "-")
            unpacked(tmp_path / "x.zip", target)
            assert _mtimes(target) == {"a": 981173107.0}
        (tmp_path / "x.zip").unlink()


def test_a_time_without_a_zone_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zipped(member("a", date_time=(2001, 2, 3, 4, 5, 6)), member("b", date_time=(1980, 1, 1, 0, 0, 0)))
    (tmp_path / "x.zip").write_bytes(packed)
    for here in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", here)
        target = tmp_path / here.replace("/", "-")
        unpacked(tmp_path / "x.zip", target)
        assert _mtimes(target) == {"a": 981173106.0, "b": 315532800.0}


def test_the_time_of_windows_is_read(tmp_path: Path) -> None:
    info = member("a")
    stamp = (981173107 + 11_644_473_600) * 10_000_000
    info.extra = struct.pack("<2HL2H3Q", 0x000A, 32, 0, 1, 24, stamp, stamp, stamp)
    unpack(tmp_path, zipped(info))
    assert _mtimes(tmp_path / "tree") == {"a": 981173107.0}


def test_a_selection_takes_what_is_below_it(tmp_path: Path, source: Path) -> None:
    run(source, f"zip -qry {tmp_path}/x.zip .")
    unpacked(tmp_path / "x.zip", tmp_path / "tree", selection=Selection(includes=("dir",), excludes=("dir/sub",)))
    assert set(listed(tmp_path / "tree")) == {"dir", "dir/f", "dir/up"}
