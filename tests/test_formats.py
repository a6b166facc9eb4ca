"""What an object is, is told by its content and not by its name; what is no tarball is named for what it is."""

from __future__ import annotations

import gzip
import importlib
import io
import lzma
import shutil
import struct
import sys
import tarfile
from pathlib import Path

import pytest

from staging.errors import BadTarball
from staging.formats import ZEROS
from staging.tree import UnpackLimits
from tests.builds import make_build, noise, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import cause_of as cause_on_page
from tests.unpacking import listed, run, unpacked

FILES = {"dir/a": b"a" * 5000, "b": noise(200_000, "b")}
TAR = tarball(FILES, "")
PACKERS = {
    "gzip": "gzip -c",
    "bzip2": "bzip2 -c",
    "xz": "xz -c",
    "lzma": "xz --format=lzma -c",
    "zstd": "zstd -q -c",
    "pzstd": "pzstd -q -c",
    "lz4": "lz4 -q -c",
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tarball, as each program packs it."""
    directory = tmp_path_factory.mktemp("packed")
    (directory / "x.tar").write_bytes(TAR)
    return {name: run(directory, f"{command} x.tar") for name, command in PACKERS.items()}


def unpack(
    directory: Path, content: bytes, name: str = "x.tgz", limits: UnpackLimits | None = None
) -> dict[str, bytes]:
    """The files that ``content`` becomes, as an object of that name."""
    (directory / name).write_bytes(content)
    unpacked(directory / name, directory / "tree", limits)
    return {path: entry[2] for path, entry in listed(directory / "tree").items() if entry[0] == "file"}  # type: ignore[misc]


def cause_of(directory: Path, content: bytes, name: str = "x.tgz", limits: UnpackLimits | None = None) -> str:
    with pytest.raises(BadTarball) as caught:
        unpack(directory, content, name, limits)
    return str(caught.value)


@pytest.fixture(params=["programs", "libraries"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the programs that decompress, and without."""
    if request.param == "libraries":
        monkeypatch.setenv("PATH", "")
    return str(request.param)


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("name", ["x.tgz", "x.tar.bz2", "x"])
def test_the_content_says_how_to_unpack_it_and_not_the_name(
    tmp_path: Path, packed: dict[str, bytes], codec: str, name: str
) -> None:
    assert unpack(tmp_path, packed[codec], name) == FILES


@pytest.mark.parametrize("codec", [codec for codec in PACKERS if codec != "lzma"])
@pytest.mark.usefixtures("ways")
def test_streams_behind_each_other_are_one(tmp_path: Path, packed: dict[str, bytes], codec: str) -> None:
    assert unpack(tmp_path, packed[codec] + bytes(8) + packed[codec]) == FILES


@pytest.mark.parametrize("first", ["BZh91AY&SY", "PK\3\4", "\x1f\x8b\x08", "7z", "070701", "<html>", "\x7fELF"])
def test_a_tarball_whose_first_name_looks_like_something_else_is_a_tarball(tmp_path: Path, first: str) -> None:
    name = first.encode("latin-1").decode("utf-8", "surrogateescape")
    is_name = name.isprintable() and name.isascii()
    content = tarball({name: b"x"}, "") if is_name else b"".join([_header(first.encode("latin-1")), bytes(1024)])
    if is_name:
        assert unpack(tmp_path, content) == {name: b"x"}
    else:
        assert "control character" in cause_of(tmp_path, content)


def _header(name: bytes) -> bytes:
    """A header of a tarball, for a directory of that name."""
    header = bytearray(tarfile.TarInfo("x").tobuf())
    header[:100] = name.ljust(100, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_header_whose_checksum_is_of_signed_bytes_is_one_of_a_tarball(tmp_path: Path) -> None:
    header = bytearray(_header("é".encode("latin-1")))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(struct.unpack("512b", header))
    assert "no tarball" not in _cause_or_nothing(tmp_path, bytes(header) + bytes(1024))


def _cause_or_nothing(directory: Path, content: bytes) -> str:
    try:
        unpack(directory, content)
    except BadTarball as error:
        return str(error)
    return ""


MADE = {
    "a zip file": "zip -q -r - src",
    "a cpio archive": "bsdtar --format=newc -cf - src",
    "a cpio archive ": "bsdtar --format=odc -cf - src",
    "a cpio archive  ": "bsdtar --format=bin -cf - src",
    "an ar archive": "ar q x.a src/a && cat x.a",
    "an ISO 9660 image": "bsdtar --format=iso9660 -cf - src",
    "a xar archive": "bsdtar --format=xar -cf - src",
    "a 7z archive": "7z a x.7z src >&2 && cat x.7z",
    "an lzip file": "bsdtar --lzip -cf - src",
    "a file of compress (.Z)": "bsdtar -Z -cf - src",
    "an lz4 file in the legacy format": "lz4 -q -l -c src/a",
    "an ELF file": "cat /bin/true",
    "the first part of a split zip file": "zip -q -s 64k -r x.zip src && cat x.z01",
}
WRITTEN = {
    "an HTML page": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>Sign in</body></html>",
    "an XML document": b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>",
    "a JSON document": b'{\n "error": {"code": 404}}',
    "text, which begins with 'not found": b"not found\n",
    "a Debian package": b"!<arch>\ndebian-binary   1410122664  0     0     100644  4         `\n2.0\n",
    "an RPM package": b"\xed\xab\xee\xdb\x03\0" + bytes(90),
    "a rar archive": b"Rar!\x1a\x07\x01\0" + bytes(90),
    "an lzop file": b"\x89LZO\0\r\n\x1a\n" + bytes(90),
    "a squashfs image": b"hsqs" + noise(900, "squashfs"),
    "an Android sparse image": b"\x3a\xff\x26\xed\x01\0\0\0" + bytes(90),
    "an update payload": b"CrAU" + noise(900, "payload"),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "an image of an ext2, ext3 or ext4 file system": bytes(0x438) + b"\x53\xef" + bytes(ZEROS),
    "an image of a disk": bytes(446) + b"\x80" + bytes(63) + b"\x55\xaa" + noise(9000, "disk"),
    "an image of a disk or a file system": bytes(4096) + noise(9000, "disk"),
    "an empty file": b"",
    "nothing but zeros": bytes(1024 * 1024),
    "of no format that is known here; it begins with the bytes 9c 4b": b"\x9c\x4b\x01" + bytes(900),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources")
    (directory / "src").mkdir()
    (directory / "src" / "a").write_bytes(noise(100_000, "a"))
    return directory


@pytest.mark.parametrize("title", MADE)
def test_what_is_no_tarball_is_named_for_what_it_is(tmp_path: Path, sources: Path, title: str) -> None:
    shutil.copytree(sources / "src", tmp_path / "src")
    content = run(tmp_path, MADE[title])
    for packed in (content, gzip.compress(content)):
        cause = cause_of(tmp_path, packed)
        assert cause.startswith("x.tgz cannot be unpacked: it is ")
        assert title.strip() in cause


@pytest.mark.parametrize("title", WRITTEN)
def test_what_is_no_tarball_is_named_by_its_first_bytes(tmp_path: Path, title: str) -> None:
    assert f"it is {title}" in cause_of(tmp_path, WRITTEN[title])
    inside = cause_of(tmp_path, lzma.compress(WRITTEN[title]))
    assert f"it is an xz file, which holds {title}" in inside
    assert "and no tarball" in inside


def test_a_zip_file_and_a_tarball_under_each_others_names_are_told_apart(
    tmp_path: Path, packed: dict[str, bytes]
) -> None:
    (tmp_path / "f").write_bytes(b"f")
    assert "it is a zip file, and only what is called .zip" in cause_of(tmp_path, run(tmp_path, "zip -q - f"), "x.tgz")
    assert "it is a tarball, and only zip files" in cause_of(tmp_path, TAR, "x.zip")
    assert "it is a gzip file, and only zip files" in cause_of(tmp_path, packed["gzip"], "x.zip")
    assert "it is an HTML page, and no zip file" in cause_of(tmp_path, WRITTEN["an HTML page"], "x.zip")


@pytest.mark.parametrize("blocks", [2, 20, 128])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_empty_tarball_is_one(tmp_path: Path, blocks: int, pack: type[bytes]) -> None:
    content = run(tmp_path, f"tar -b {blocks} -cf - -T /dev/null")
    assert content == bytes(512 * blocks)
    assert unpack(tmp_path, pack(content)) == {}


def test_what_is_compressed_twice_is_peeled_once_more(tmp_path: Path, packed: dict[str, bytes]) -> None:
    (tmp_path / "x.tgz").write_bytes(packed["gzip"])
    for command in ("gzip -c x.tgz", "xz -c x.tgz", "zstd -q -c x.tgz", "gzip -dc x.tgz | xz -c | bzip2 -c"):
        directory = tmp_path / command.replace(" ", "_").replace("|", "")
        directory.mkdir()
        assert unpack(directory, run(tmp_path, command)) == FILES
    thrice = run(tmp_path, "gzip -c x.tgz | gzip -c")
    cause = "it is compressed more than 2 times: a gzip file in a gzip file in a gzip file"
    assert cause in cause_of(tmp_path, thrice)


SMALL = UnpackLimits(max_memory=8 * 1024**2)


@pytest.mark.parametrize("outer", ["gzip -c", "xz -0 -c", "zstd -q -c"])
def test_each_layer_takes_no_more_memory_than_it_may(tmp_path: Path, outer: str) -> None:
    (tmp_path / "x.tar").write_bytes(TAR)
    content = run(tmp_path, f"xz --lzma2=dict=32MiB -c x.tar | {outer}")
    assert "more memory than the 8.0 MiB that --unpack-max-memory allows" in cause_of(tmp_path, content, limits=SMALL)


def test_an_lzma_file_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(TAR)
    content = run(tmp_path, "xz --format=lzma --lzma1=dict=32MiB -c x.tar")
    assert "more memory than the 8.0 MiB that --unpack-max-memory allows" in cause_of(tmp_path, content, limits=SMALL)


def test_xz_takes_fewer_threads_where_memory_is_short(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tarball({"f": noise(1_500_000, "f")}, ""))
    content = run(tmp_path, "xz -T2 --lzma2=preset=0,dict=64MiB --block-size=512KiB -c x.tar")
    limits = UnpackLimits(max_memory=80 * 1024**2)
    assert unpack(tmp_path, content, limits=limits) == {"f": noise(1_500_000, "f")}


# Where a stream ends


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.usefixtures("ways")
def test_zeros_behind_the_last_stream_are_padding(tmp_path: Path, packed: dict[str, bytes], codec: str) -> None:
    assert unpack(tmp_path, packed[codec] + bytes(1000)) == FILES


def test_what_bsdtar_pads_for_a_pipe_is_padding(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    for option in ("--zstd", "-z", "-j", "-J", "--lzma", "--lz4"):
        directory = tmp_path / option
        directory.mkdir()
        assert unpack(directory, run(tmp_path, f"bsdtar -c {option} -f - f | cat")) == {"f": b"f"}


@pytest.mark.parametrize("count", [1, 9, 70_000])
@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.usefixtures("ways")
def test_what_follows_the_last_stream_is_refused_by_its_length(
    tmp_path: Path, packed: dict[str, bytes], codec: str, count: int
) -> None:
    cause = cause_of(tmp_path, packed[codec] + b"s" * count)
    said = {str(count), "65536 or more"} if count == 70_000 else {str(count)}
    assert any(
        f"{number} bytes that are no part of it follow the end of its {codec.removeprefix('p')}" in cause
        for number in said
    ) or (codec == "xz" and count == 70_000 and "its xz stream is broken" in cause)


@pytest.mark.parametrize("cut", [1, 4, 1000])
@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.usefixtures("ways")
def test_a_stream_that_was_cut_off_is_refused(tmp_path: Path, packed: dict[str, bytes], codec: str, cut: int) -> None:
    cause = cause_of(tmp_path, packed[codec][:-cut])
    assert f"its {codec.removeprefix('p')} stream is " in cause


@pytest.mark.parametrize("where", [0.5, 0.95])
@pytest.mark.parametrize("codec", ["bzip2", "xz"])
def test_the_programs_own_words_are_the_cause(
    tmp_path: Path, packed: dict[str, bytes], codec: str, where: float
) -> None:
    if shutil.which("lbzip2") is None:
        pytest.skip("lbzip2 is not installed")
    content = bytearray(packed[codec])
    content[int(len(content) * where)] ^= 4
    words = {"bzip2": "block CRC mismatch", "xz": "Compressed data is corrupt"}[codec]
    assert f"its {codec} stream is broken: " in cause_of(tmp_path, bytes(content))
    assert words in cause_of(tmp_path, bytes(content))


def test_lz4_without_its_library_is_named_with_what_brings_it(
    tmp_path: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(ImportError):
        importlib.import_module("lz4.frame")
    assert "it is packed with lz4, which takes a library" in cause_of(tmp_path, packed["lz4"])


# What is a bomb


def _of_zeros_and_noise(directory: Path) -> bytes:
    """100 MB of zeros before 1 MB of noise: unpacked to 100 times its size, and to 25,000 times what has come first."""
    with (directory / "f").open("wb") as file:
        file.truncate(100_000_000)
        file.seek(0, io.SEEK_END)
        file.write(noise(1_000_000, "noise"))
    return run(directory, "tar -cf - f | zstd -q -c")


def test_the_ratio_is_of_the_whole_object(tmp_path: Path) -> None:
    content = _of_zeros_and_noise(tmp_path)
    assert len(content) < 1_100_000
    (tmp_path / "x.tgz").write_bytes(content)
    unpacked(tmp_path / "x.tgz", tmp_path / "tree", UnpackLimits(max_ratio=200))
    assert (tmp_path / "tree" / "f").stat().st_size == 101_000_000
    with pytest.raises(BadTarball, match=r"more than 50 times its size \(--unpack-max-ratio\)"):
        unpacked(tmp_path / "x.tgz", tmp_path / "other", UnpackLimits(max_ratio=50))


def test_the_ratio_is_an_option(start_server: StartServer, archive: FakeArchive) -> None:
    server = start_server("--unpack-max-ratio", "20")
    build = make_build()
    build.objects["autotest.tar.bz2"] = gzip.compress(tarball({"autotest/zeros": bytes(70_000_000)}, ""), 1)
    build.upload(archive)
    cause = cause_on_page(server.ask("/stage", archive_url=build.url, artifacts="autotest").result())
    assert "unpacks to more than 20 times its size (--unpack-max-ratio)" in cause
