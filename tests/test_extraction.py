"""What is unpacked is what was packed; what is hostile is refused, and leaves nothing behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from typing import Any

import psutil
import pytest
import zstandard

from staging.archives import ArchiveUrl, open_archive
from staging.errors import BadTarball
from staging.extraction import unpack_stream
from staging.retry import Patience
from staging.selection import EVERYTHING, Selection
from staging.transfer import Transfer
from staging.tree import UnpackLimits
from staging.zip_files import unpack_zip
from tests.builds import make_build, noise, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of, eventually

Compress = Callable[[bytes], bytes]
COMPRESSIONS: dict[str, Compress] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.compress,
}
FILES = {"dir/a": b"a" * 5000, "dir/sub/b": b"", "c": noise(700_000, "c"), "dir/" + "long" * 60: b"long"}


def unpack(root: Path, content: bytes, name: str = "x.tar", limits: UnpackLimits | None = None) -> Path:
    """Unpack ``content`` as an archive's object of that name, and return the directory it went to."""
    (root / "archive" / "target" / "version").mkdir(parents=True)
    (root / "archive" / "target" / "version" / name).write_bytes(content)
    archive = open_archive(ArchiveUrl.parse(f"file://{root}/archive/target/version", [root / "archive"]), 5)
    target = root / "area" / "tree"
    limits = limits or UnpackLimits()
    if name.endswith(".zip"):
        unpack_zip(root / "archive" / "target" / "version" / name, name, target, EVERYTHING, limits, Flag())
        return target
    transfer = Transfer(archive, Patience(5, 5), Flag())
    with transfer.reader(archive.describe(name), lambda _: None) as reader:
        unpack_stream(reader, name, target, Selection.of((), ("excluded",)), limits, Flag())
        reader.finish()
    return target


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize("is_without_programs", [False, True], ids=["programs", "modules"])
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_every_format_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_without_programs: bool, tar_format: int
) -> None:
    if is_without_programs:
        monkeypatch.setattr(shutil, "which", lambda _: None)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in {**FILES, "excluded/x": b"not this"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    target = unpack(tmp_path, COMPRESSIONS[kind](buffer.getvalue()), f"x.{kind}")
    assert tree(target) == FILES


@pytest.mark.parametrize("mtime", [-1.0, 1e300, float("nan")])
def test_a_time_that_is_none_is_the_epoch(tmp_path: Path, mtime: float) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"mtime": str(mtime)}
        tar.addfile(info)
    assert (unpack(tmp_path, buffer.getvalue()) / "a").stat().st_mtime == 0


def negative_header() -> bytes:
    header = bytearray(member("././@LongLink", tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12  # a size of -1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_header_of_negative_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTarball, match="negative size"):
        unpack(tmp_path, negative_header() + bytes(2048))


def test_a_zip_file_is_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert tree(unpack(tmp_path, buffer.getvalue(), "x.zip")) == FILES


def test_what_lies_behind_the_end_of_a_tarball_is_read_and_left(tmp_path: Path) -> None:
    assert tree(unpack(tmp_path, tarball({"a": b"a"}, "") + bytes(3_000_000))) == {"a": b"a"}


def test_a_wrong_checksum_of_the_compression_is_found(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(tarball({"a": noise(100_000, "a")}, "")))
    content[-6] ^= 1
    with pytest.raises(BadTarball):
        unpack(tmp_path, bytes(content), "x.tar.gz")


def test_directories_that_names_lead_through_are_counted(tmp_path: Path) -> None:
    files = {"/".join(f"{n}-{depth}" for depth in range(50)): b"" for n in range(10)}
    with pytest.raises(BadTarball, match="more than 100 files"):
        unpack(tmp_path, tarball(files, ""), limits=UnpackLimits(max_files=100))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, link, mode, 1_325_376_000
    return info


def test_links_modes_and_times_are_kept_as_far_as_they_are_sane(tmp_path: Path) -> None:
    target = unpack(
        tmp_path,
        tarball(
            {
                "dir": member("dir", tarfile.DIRTYPE, mode=0o1777),
                "dir/program": member("dir/program", mode=0o6755),
                "dir/data": member("dir/data", mode=0o200),
                "dir/link": member("dir/link", tarfile.SYMTYPE, "../dir/program"),
                "dir/same": member("dir/same", tarfile.LNKTYPE, "dir/program"),
                "./dir/data": b"replaced",
            },
            "",
        ),
    )
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (target / "dir").iterdir()}
    assert modes["program"] == modes["same"] == 0o755
    assert modes["data"] == 0o644
    assert stat.S_IMODE((target / "dir").stat().st_mode) == 0o755
    assert (target / "dir").stat().st_mtime == (target / "dir" / "program").stat().st_mtime == 1_325_376_000
    assert (target / "dir" / "link").readlink() == Path("../dir/program")
    assert (target / "dir" / "same").samefile(target / "dir" / "program")
    assert (target / "dir" / "data").read_bytes() == b"replaced"


def sparse() -> tarfile.TarInfo:
    info = member("sparse")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    return info


HOSTILE: dict[str, dict[str, bytes | tarfile.TarInfo]] = {
    "absolute": {"/tmp/owned": b"x"},
    "absolute-after-another": {"a": b"x", "/owned": b"x"},
    "link-from-beside-a-file": {
        "x/y/.": b"x",
        "x/y/evil": member("x/y/evil", tarfile.SYMTYPE, "../../outside"),
    },
    "parent": {"../owned": b"x"},
    "parent-within": {"a/../../owned": b"x"},
    "parent-in-tree": {"a/../owned": b"x"},
    "reserved": {"a/.devserver/manifest.json": b"x"},
    "link-absolute": {"l": member("l", tarfile.SYMTYPE, "/etc")},
    "link-up": {"l": member("l", tarfile.SYMTYPE, "..")},
    "link-up-deep": {"a/b/l": member("a/b/l", tarfile.SYMTYPE, "../../../x")},
    "link-down-and-up": {"a/x": b"", "s": member("s", tarfile.SYMTYPE, "a/../..")},
    "link-through-link": {
        "a/b/c/root": member("a/b/c/root", tarfile.SYMTYPE, "../../.."),
        "out": member("out", tarfile.SYMTYPE, "a/b/c/root/../owned"),
    },
    "hard-link-absolute": {"h": member("h", tarfile.LNKTYPE, "/etc/passwd")},
    "hard-link-up": {"h": member("h", tarfile.LNKTYPE, "../../owned")},
    "hard-link-to-nothing": {"h": member("h", tarfile.LNKTYPE, "nothing")},
    "device": {"d": member("d", tarfile.CHRTYPE)},
    "block-device": {"d": member("d", tarfile.BLKTYPE)},
    "fifo": {"f": member("f", tarfile.FIFOTYPE)},
    "file-as-directory": {"a": b"x", "a/b": b"y"},
    "directory-as-file": {"a/b": b"y", "a": b"x"},
    "no-name": {".": b"x"},
    "sparse": {"sparse": sparse()},
    "deep": {"/".join("d" * 150): b"x"},
    "long": {"x" * 300: b"x"},
    "link-to-nothing": {"l": member("l", tarfile.SYMTYPE, "")},
    "link-through-a-link-below": {
        "a/b/root": member("a/b/root", tarfile.SYMTYPE, "../.."),
        "owned": member("owned", tarfile.SYMTYPE, "a/b/root/x/../../y"),
    },
    "link-through-what-becomes-a-link": {
        "d": member("d", tarfile.DIRTYPE),
        "a/b/c": b"x",
        "l": member("l", tarfile.SYMTYPE, "d/../x"),
        "./d": member("./d", tarfile.SYMTYPE, "a/b"),
    },
    "write-through-link-that-leaves": {
        "a/up": member("a/up", tarfile.SYMTYPE, ".."),
        "l": member("l", tarfile.SYMTYPE, "a/up/../../owned"),
        "l/x": b"x",
    },
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_tarball_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BadTarball, match=r"x\.tar cannot be unpacked: it holds "):
        unpack(tmp_path, tarball(HOSTILE[kind], ""))
    assert not list(tmp_path.rglob("owned"))
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize("kind", ["absolute", "parent", "parent-within", "reserved", "directory-as-file"])
def test_a_hostile_zip_is_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in HOSTILE[kind].items():
            assert isinstance(content, bytes)
            archive.writestr(name, content)
    with pytest.raises(BadTarball, match=r"x\.zip cannot be unpacked: it holds "):
        unpack(tmp_path, buffer.getvalue(), "x.zip")
    assert not list(tmp_path.rglob("owned"))


def test_a_zip_with_a_link_that_leaves_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BadTarball, match="which may leave it"):
        unpack(tmp_path, buffer.getvalue(), "x.zip")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (UnpackLimits(max_bytes=10_000), "more than 10000 bytes"),
        (UnpackLimits(max_files=5), "more than 5 files"),
    ],
)
def test_a_tarball_that_holds_too_much_is_refused(tmp_path: Path, limits: UnpackLimits, reason: str) -> None:
    content = tarball({f"f{n}": bytes(2000) for n in range(10)})
    with pytest.raises(BadTarball, match=reason):
        unpack(tmp_path, content, "x.tar.bz2", limits)


@pytest.mark.parametrize("kind", sorted(COMPRESSIONS.keys() - {"tar"}))
def test_a_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    content = COMPRESSIONS[kind](tarball({f"f{n}": bytes(20_000_000) for n in range(10)}, ""))
    with pytest.raises(BadTarball, match="more than 500 times its size"):
        unpack(tmp_path, content, "x.tar.bz2", UnpackLimits(max_ratio=500))
    assert sum(path.stat().st_size for path in tmp_path.rglob("f*")) < 200_000_000


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2"])
def test_a_bomb_of_one_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = COMPRESSIONS[kind](tarball({"f": bytes(200_000_000)}, ""))
    with pytest.raises(BadTarball, match="more than 50 times its size"):
        unpack(tmp_path, content, f"x.{kind}", UnpackLimits(max_ratio=50))
    assert sum(path.stat().st_size for path in tmp_path.rglob("f")) < 100_000_000


def test_padding_without_end_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(tarball({"f": b"x"}, "") + bytes(200_000_000))
    with pytest.raises(BadTarball, match="more than 50 times its size"):
        unpack(tmp_path, content, "x.tar.gz", UnpackLimits(max_ratio=50))


def test_padding_is_no_file(tmp_path: Path) -> None:
    content = gzip.compress(tarball({"f": noise(100_000, "f")}, "") + bytes(20_000_000))
    assert list(tree(unpack(tmp_path, content, "x.tar.gz", UnpackLimits(max_files=5)))) == ["f"]


def pax_header(records: bytes) -> bytes:
    header = member("pax", tarfile.XHDTYPE)
    header.size = len(records)
    return header.tobuf(tarfile.GNU_FORMAT) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    "records",
    [
        b"10 path=x\n" + b" " * 20,
        b"10 path=x\n10 path=y",
        b"path=x\n",
        b"0 path=x\n",
        b"-1 path=x\n",
        b"99999999999999 path=x\n",
        b"9 path\n\n\n",
        "\u00b3 path=x\n".encode(),
        b"11 size=ab\n",
        b"12 mtime=ab\n",
        b"11 size=-1\n",
    ],
)
def test_a_broken_pax_header_is_refused(tmp_path: Path, records: bytes) -> None:
    with pytest.raises(BadTarball):
        unpack(tmp_path, pax_header(records) + tarball({"a": b"x"}, ""))


def test_a_padded_pax_header_and_an_empty_name_in_it_are_read(tmp_path: Path) -> None:
    content = pax_header(b"10 path=x\n" + bytes(20)) + tarball({"a": b"x"}, "")
    assert tree(unpack(tmp_path / "padded", content)) == {"x": b"x"}
    content = pax_header(b"8 path=\n") + tarball({"a": b"x"}, "")
    assert tree(unpack(tmp_path / "empty", content)) == {"a": b"x"}


def zipped(files: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (UnpackLimits(max_bytes=10_000), "more than 10000 bytes"),
        (UnpackLimits(max_files=5), "more than 5 files"),
        (UnpackLimits(max_ratio=2), "more than 2 times its size"),
    ],
)
def test_a_zip_that_holds_too_much_is_refused(tmp_path: Path, limits: UnpackLimits, reason: str) -> None:
    with pytest.raises(BadTarball, match=reason):
        unpack(tmp_path, zipped({f"f{n}": bytes(20_000_000) for n in range(10)}), "x.zip", limits)
    assert sum(path.stat().st_size for path in tmp_path.rglob("f*")) < 200_000_000


def test_a_zip_that_understates_a_file_is_refused(tmp_path: Path) -> None:
    content = zipped({"a": bytes(5_000_000)})
    size = (5_000_000).to_bytes(4, "little")
    assert content.count(size) == 2  # in the file's own header, and in the directory
    with pytest.raises(BadTarball):
        unpack(tmp_path, content.replace(size, (1000).to_bytes(4, "little")), "x.zip")


def broken_header(content: bytes) -> bytes:
    return content[:148] + b"123456\0 " + content[156:]


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize(
    "damage",
    [lambda c: c[: len(c) // 2], lambda _: b"", lambda c: c[:100] + b"\xff" * 4000 + c[4100:]],
    ids=["cut", "empty", "overwritten"],
)
def test_a_broken_tarball_is_refused(tmp_path: Path, kind: str, damage: Compress) -> None:
    content = COMPRESSIONS[kind](tarball({"a": noise(100_000, "a"), "b": noise(100_000, "b")}, ""))
    if kind == "tar":
        content = broken_header(content)
    with pytest.raises(BadTarball, match="cannot be unpacked: "):
        unpack(tmp_path, damage(content), f"x.{kind}")


@pytest.fixture(scope="module")
def staged_by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevServer, FakeArchive]]:
    """A devserver whose builds are one tarball or one zip file each, and its archive."""
    directory = tmp_path_factory.mktemp("hostile")
    catalogue = directory / "catalogue.toml"
    entry = '[[artifact]]\nname = "{0}"\npattern = "x.{0}"\nrequired = false\nsynchronous = true\nunpack = true\n'
    catalogue.write_text(entry.format("tar.gz") + entry.format("zip"))
    with FakeArchive() as archive:
        environment = {"STORAGE_EMULATOR_HOST": archive.url}
        server = DevServer(directory, "--catalog", str(catalogue), environment=environment)
        yield server, archive
        server.close()


ZIPPABLE = [kind for kind, files in HOSTILE.items() if all(isinstance(content, bytes) for content in files.values())]


@pytest.mark.parametrize(
    ("name", "kind"), [("tar.gz", kind) for kind in HOSTILE] + [("zip", kind) for kind in ZIPPABLE if kind != "no-name"]
)
def test_a_hostile_artifact_leaves_nothing_behind(
    staged_by: tuple[DevServer, FakeArchive], name: str, kind: str
) -> None:
    server, archive = staged_by
    files = {"good": b"x", **HOSTILE[kind]}
    content = tarball(files, "gz") if name == "tar.gz" else zipped(files)
    build = f"{name.replace('.', '-')}/{kind}"
    archive.put("bucket", f"{build}/x.{name}", content)
    assert cause_of(server.download(f"gs://bucket/{build}")).startswith(f"BadTarball: x.{name} cannot be unpacked")
    records = {"chromiumos_test_image.bin", ".devserver/manifest.json", ".devserver/empty.files.json"}
    allowed = {".devserver/synchronous", *(f"{build}/{path}" for path in records)}
    # The answer comes at once, and the clearing up right behind it.
    eventually(lambda: {path for path in files_below(server.static_dir) if "/staging/" in path} == set())
    assert {path for path in files_below(server.static_dir) if path.startswith((build, ".devserver/s"))} <= allowed
    walk = os.walk(server.static_dir.parent)
    assert not [folder for folder, folders, names in walk if "owned" in (*folders, *names)]


def files_below(directory: Path) -> set[str]:
    found = [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]  # noqa: PTH118
    return {os.path.relpath(path, directory) for path in found}


# Memory


def packed_with(tmp_path: Path, *command: str) -> bytes:
    """A small tarball, followed by zeros, as a program packs it."""
    plain = tmp_path / "plain.tar"
    plain.write_bytes(tarball(FILES, "") + bytes(1024 * 1024))
    return subprocess.run([*command, "--stdout", str(plain)], check=True, capture_output=True).stdout


LARGE_DICTIONARY = ("xz", "--lzma2=dict=1GiB")


@pytest.mark.parametrize("has_programs", [True, False])
def test_xz_takes_no_more_memory_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_programs: bool
) -> None:
    content = packed_with(tmp_path, *LARGE_DICTIONARY)
    if not has_programs:
        monkeypatch.setenv("PATH", "")
    with pytest.raises(BadTarball, match=r"more memory than the 256 MiB that --unpack-max-memory allows"):
        unpack(tmp_path, content, "x.tar.xz")


@pytest.mark.parametrize("has_programs", [True, False])
def test_xz_takes_what_the_operator_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_programs: bool) -> None:
    content = packed_with(tmp_path, "xz", "--lzma2=dict=64MiB")  # as xz -9 does
    content += bytes(8) + content  # another stream, which is no more tarball
    if not has_programs:
        monkeypatch.setenv("PATH", "")
    assert tree(unpack(tmp_path, content, "x.tar.xz", UnpackLimits(max_memory=80 * 1024**2))) == FILES


def test_zstd_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    plain = tarball(FILES, "") + bytes(1024 * 1024)
    command = ["zstd", "--ultra", "-19", "--long=30", "--stdout"]
    content = subprocess.run(command, check=True, capture_output=True, input=plain).stdout  # whose size it doesn't know
    with pytest.raises(BadTarball, match=r"more memory than the 256 MiB that --unpack-max-memory allows"):
        unpack(tmp_path / "default", content, "x.tar.zst")
    allowed = UnpackLimits(max_memory=1024**3)
    assert tree(unpack(tmp_path / "allowed", content, "x.tar.zst", allowed)) == FILES


def test_a_zip_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("f", b"x" * 5000)
    content = buffer.getvalue()
    assert tree(unpack(tmp_path / "usual", content, "x.zip")) == {"f": b"x" * 5000}
    properties = content.index(b"\x05\x00\x5d") + 3  # the version of LZMA, their size, and the first of them
    large = content[:properties] + (2**31).to_bytes(4, "little") + content[properties + 4 :]
    with pytest.raises(BadTarball, match=r"more memory than the 256 MiB that --unpack-max-memory allows"):
        unpack(tmp_path / "large", large, "x.zip")


def test_several_streams_at_once_take_no_more_memory_than_they_may(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path
) -> None:
    content = packed_with(tmp_path, *LARGE_DICTIONARY)
    server = start_server("--unpack-max-memory", "100M")
    builds = [make_build(version=f"R17-{number}.0.0") for number in range(3)]
    for one in builds:
        one.objects["autotest.tar.bz2"] = one.objects["test_suites.tar.bz2"] = content
        one.upload(archive)
    asked = [server.ask("/stage", archive_url=one.url, artifacts="test_suites,autotest") for one in builds]
    most = 0
    while not all(one.done() for one in asked):
        with suppress(psutil.Error):
            most = max(most, *(one.memory_info().rss for one in server.processes()))
    for answer in asked:
        assert "more memory than the 100 MiB that --unpack-max-memory allows" in cause_of(answer.result())
    assert most < 400 * 1024**2


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "\x1b[31ma", "dir\n/a", "a\x7f", "a\x01", "a\u0085", "a\u2028b"])
@pytest.mark.parametrize("kind", ["tar", "pax", "gnu", "directory", "link", "link target", "hard link", "zip"])
def test_no_name_with_a_control_character_reaches_the_disk(tmp_path: Path, name: str, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("before", b"")
            archive.writestr(name, b"x")
    else:
        tar_format = tarfile.GNU_FORMAT if kind == "gnu" else tarfile.PAX_FORMAT
        with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
            tar.addfile(tarfile.TarInfo("before"))
            info = tarfile.TarInfo("plain" if kind in ("pax", "link target", "hard link") else name)
            if kind == "pax":
                info.pax_headers = {"path": name}
            info.type = {"directory": tarfile.DIRTYPE, "hard link": tarfile.LNKTYPE}.get(kind, tarfile.REGTYPE)
            if kind.startswith("link"):
                info.type = tarfile.SYMTYPE
            info.linkname = name if kind in ("link target", "hard link") else "before" if kind == "link" else ""
            tar.addfile(info)
    with pytest.raises(BadTarball, match=r"control character|no file in it"):
        unpack(tmp_path, buffer.getvalue(), "x.zip" if kind == "zip" else "x.tar")
    found = [path.name for path in (tmp_path / "area").rglob("*")]
    assert not [one for one in found if any(not character.isprintable() for character in one)]


def test_gnu_tar_packs_names_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "dir").mkdir(parents=True)
    (tmp_path / "in" / "dir" / "a\n200 5 1.0 6.6.6.6 \u00e4").write_bytes(b"x")
    for tar_format in ("gnu", "pax", "ustar"):
        command = ["tar", f"--format={tar_format}", "-C", str(tmp_path / "in"), "-cf", "-", "."]
        content = subprocess.run(command, check=True, capture_output=True).stdout
        with pytest.raises(BadTarball, match="control character"):
            unpack(tmp_path / tar_format, content)
