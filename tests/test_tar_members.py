"""What GNU tar, bsdtar and others put into tarballs is unpacked as they would unpack it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event as Flag

import google_crc32c
import pytest
import requests

from staging.archives import ArchiveUrl, open_archive
from staging.checksums import as_text
from staging.errors import BadTarball
from staging.extraction import unpack_stream
from staging.retry import Patience
from staging.selection import Selection, Unpacked
from staging.transfer import Transfer
from staging.tree import UnpackLimits
from tests.builds import tarball
from tests.fake_archive import FakeArchive
from tests.servers import DevServer, cause_of

KIB, MIB = 1024, 1024**2


class Unpacker:
    """Unpacks tarballs of one archive, each into a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.build = root / "archive" / "target" / "version"
        self.build.mkdir(parents=True)
        self.work = root / "work"
        self.work.mkdir()
        self.target = root / "tree"

    def made_by(self, *command: str, prepare: str = "") -> Path:
        """The tarball x.tar that a shell's ``prepare`` and a program make in an empty directory."""
        subprocess.run(["bash", "-ec", prepare], cwd=self.work, check=True)
        subprocess.run(command, cwd=self.work, check=True, capture_output=True)
        return self.work / "x.tar"

    def unpack(  # noqa: D102
        self,
        packed: Path | bytes,
        includes: Sequence[str] = (),
        excludes: Sequence[str] = (),
        limits: UnpackLimits | None = None,
        leaves_out: bool = False,
        name: str = "x.tar",
    ) -> Unpacked:
        content = packed if isinstance(packed, bytes) else packed.read_bytes()
        (self.build / name).write_bytes(content)
        url = ArchiveUrl.parse(f"file://{self.build}", [self.root / "archive"])
        archive = open_archive(url, 5)
        transfer = Transfer(archive, Patience(5, 5), Flag())
        item = archive.describe(name)
        selection = Selection.of(includes, excludes)
        with transfer.reader(item, lambda _: None) as reader:
            return unpack_stream(
                reader,
                name,
                self.target,
                selection,
                limits or UnpackLimits(),
                Flag(),
                leaves_out,
                again=lambda: transfer.reader(item, lambda _: None),
            )

    def found(self) -> dict[str, str]:
        """What lies in the tree: files' content, links' targets behind an arrow, and a slash for directories."""
        found = {}
        for path in sorted(self.target.rglob("*")):
            name = path.relative_to(self.target).as_posix()
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = "/" if path.is_dir() else path.read_text("latin-1")
        return found


@pytest.fixture
def unpacker(tmp_path: Path) -> Unpacker:
    return Unpacker(tmp_path)


def checksum(path: Path) -> str:
    return as_text(google_crc32c.value(path.read_bytes()))


# Sparse files

MAKE_SPARSE = """
truncate -s 40M image.bin
printf begin | dd of=image.bin conv=notrunc status=none
for n in $(seq 1 40); do
  head -c 4096 /dev/urandom | dd of=image.bin bs=4096 seek=$((n * 200)) conv=notrunc status=none
done
printf end | dd of=image.bin bs=1 seek=41943037 conv=notrunc status=none
truncate -s 3M holes.bin
printf data > plain
"""
SPARSE_FORMATS = {
    "gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "pax 0.0": ["--format=posix", "--sparse-version=0.0"],
    "pax 0.1": ["--format=posix", "--sparse-version=0.1"],
    "pax 1.0": ["--format=posix", "--sparse-version=1.0"],
}


@pytest.mark.parametrize("hole_detection", ["raw", "seek"])
@pytest.mark.parametrize("options", SPARSE_FORMATS.values(), ids=SPARSE_FORMATS)
def test_a_sparse_file_is_whole_and_its_holes_take_no_room(
    unpacker: Unpacker, options: list[str], hole_detection: str
) -> None:
    names = ["image.bin", "holes.bin", "plain"]
    command = ["tar", "--sparse", f"--hole-detection={hole_detection}", *options, "-cf", "x.tar", *names]
    packed = unpacker.made_by(*command, prepare=MAKE_SPARSE)
    unpacked = unpacker.unpack(packed)
    for name in names:
        made, original = unpacker.target / name, unpacker.work / name
        assert made.read_bytes() == original.read_bytes()
        assert unpacked.checksums[name] == checksum(original)
        assert made.stat().st_blocks <= original.stat().st_blocks + 16
    assert unpacked.holes > 40 * MIB


def test_a_sparse_file_that_comes_twice_has_its_holes_once(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "--sparse", "--hard-dereference", "-cf", "x.tar", "image.bin", "./image.bin", prepare=MAKE_SPARSE
    )
    assert unpacker.unpack(packed).holes < 40 * MIB


def test_a_sparse_file_that_is_not_wanted_is_gone_past(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "--sparse", "-cf", "x.tar", "image.bin", "plain", prepare=MAKE_SPARSE)
    unpacker.unpack(packed, excludes=["image.bin"])
    assert unpacker.found() == {"plain": "data"}


def test_the_size_of_a_sparse_file_counts_with_its_holes(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "--sparse", "-cf", "x.tar", "image.bin", prepare=MAKE_SPARSE)
    with pytest.raises(BadTarball, match="--unpack-max-bytes"):
        unpacker.unpack(packed, limits=UnpackLimits(max_bytes=30 * MIB))


def pax_member(name: str, records: Mapping[str, str], content: bytes = b"") -> bytes:
    """A member with a pax header in front."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.pax_headers = dict(records)
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


SPARSE = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "x", "GNU.sparse.size": "100"}
WRONG_MAPS = {
    "beyond the end": "90,20",
    "over another": "0,10,5,10",
    "backwards": "50,10,0,10",
    "negative": "-5,20",
    "no number": "0,a",
    "odd": "0,20,50",
    "huge": "99999999999999999999999,20",
    "more than follows": "0,50",
    "less than follows": "0,5",
}


@pytest.mark.parametrize("numbers", WRONG_MAPS.values(), ids=WRONG_MAPS)
def test_a_sparse_map_that_is_wrong_is_refused(unpacker: Unpacker, numbers: str) -> None:
    with pytest.raises(BadTarball, match="it holds 'x' as a sparse file"):
        unpacker.unpack(pax_member("x", {**SPARSE, "GNU.sparse.map": numbers}, b"x" * 20) + bytes(1024))


def test_a_map_in_front_of_the_content_that_is_wrong_is_refused(unpacker: Unpacker) -> None:
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "100"}
    for content in (b"", b"2\n0\n", b"9" * 5000, b"99999999\n" + b"0\n" * 1000, b"1\n0\n512\n" + bytes(504)):
        with pytest.raises(BadTarball, match=r"it holds 'x' as a sparse file|it ends too early"):
            unpacker.unpack(pax_member("x", fields, content) + bytes(1024))


# Other kinds of members


def test_volume_labels_are_gone_past_and_dump_directories_are_directories(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "--format=gnu", "--label=a label", "--listed-incremental=state", "-cf", "x.tar", "dir",
        prepare="mkdir -p dir/sub; printf data > dir/sub/file",
    )  # fmt: skip
    unpacker.unpack(packed)
    assert unpacker.found() == {"dir": "/", "dir/sub": "/", "dir/sub/file": "data"}
    unpacker.unpack(packed, excludes=["dir/sub"])  # what a dump directory lists is gone past as well


def test_a_later_volume_is_refused_by_its_name(unpacker: Unpacker) -> None:
    unpacker.made_by(
        "tar", "--format=gnu", "--multi-volume", "--tape-length=50K", "-cf", "x.tar", "-f", "y.tar", "-f", "z.tar",
        "-f", "w.tar", "file",
        prepare="head -c 100000 /dev/urandom > file",
    )  # fmt: skip
    with pytest.raises(BadTarball, match="later volume of an archive of several, and begins within 'file'"):
        unpacker.unpack(unpacker.work / "y.tar")


def test_an_archive_without_an_end_is_whole(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "a", "b", prepare="printf a > a; printf b > b")
    unpacker.unpack(packed.read_bytes()[:2048])
    assert unpacker.found() == {"a": "a", "b": "b"}


def test_archives_that_were_joined_are_unpacked_to_the_last(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "bash", "-c", "tar -cf a.tar a; tar -cf b.tar b; cat a.tar b.tar > x.tar", prepare="printf a > a; printf b > b"
    )
    unpacker.unpack(packed)
    assert unpacker.found() == {"a": "a", "b": "b"}


def test_zeros_followed_by_something_else_are_no_archive(unpacker: Unpacker) -> None:
    with pytest.raises(BadTarball, match="no tarball"):
        unpacker.unpack(bytes(32 * KIB) + b"CD001" * 1000)


def test_a_member_of_an_unknown_kind_is_a_file(unpacker: Unpacker) -> None:
    info = tarfile.TarInfo("acl")
    info.type, info.size = b"A", 600
    packed = info.tobuf() + b"x" * 600 + bytes(424) + tarball({"b": b"b"}, "")
    unpacker.unpack(packed)
    assert unpacker.found() == {"acl": "x" * 600, "b": "b"}


def test_a_file_whose_name_ends_with_a_slash_is_a_directory(unpacker: Unpacker) -> None:
    info = tarfile.TarInfo("placeholder")
    info.pax_headers = {"path": "d/"}
    unpacker.unpack(info.tobuf(tarfile.PAX_FORMAT) + tarball({"d/x": b"x"}, ""))
    assert unpacker.found() == {"d": "/", "d/x": "x"}


def test_a_long_name_whose_hundredth_byte_is_a_slash_is_that_of_a_file(unpacker: Unpacker) -> None:
    directory = "d" * 99
    packed = unpacker.made_by(
        "tar",
        "--format=gnu",
        "-cf",
        "x.tar",
        f"{directory}/file",
        prepare=f"mkdir {directory}; echo x > {directory}/file",
    )
    unpacker.unpack(packed)
    assert unpacker.found()[f"{directory}/file"] == "x\n"


def test_headers_whose_sum_is_of_signed_bytes_are_understood(unpacker: Unpacker) -> None:
    header = bytearray(tarfile.TarInfo("caf").tobuf())
    header[3] = 0xE9
    header[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % signed
    unpacker.unpack(bytes(header) + bytes(1024))
    assert [os.fsencode(path.name) for path in unpacker.target.iterdir()] == [b"caf\xe9"]


# Extended headers


def test_attributes_of_megabytes_are_gone_past(unpacker: Unpacker) -> None:
    packed = pax_member("a", {"SCHILY.xattr.user.big": "x" * (3 * MIB), "mtime": "1000"}, b"a")
    unpacker.unpack(packed + tarball({"b": b"b"}, ""))
    assert unpacker.found() == {"a": "a", "b": "b"}
    assert (unpacker.target / "a").stat().st_mtime == 1000


def test_headers_count_for_how_much_is_unpacked(unpacker: Unpacker) -> None:
    packed = b"".join(pax_member(f"f{n}", {"comment": "x" * MIB}) for n in range(80))
    with pytest.raises(BadTarball, match="--unpack-max-bytes"):
        unpacker.unpack(packed, limits=UnpackLimits(max_bytes=8 * MIB))


def global_header(payload: bytes) -> bytes:
    info = tarfile.TarInfo("pax_global_header")
    info.type, info.size = tarfile.XGLTYPE, len(payload)
    return info.tobuf() + payload + bytes(-len(payload) % 512)


def test_comments_of_all_members_are_gone_past_whatever_they_look_like(unpacker: Unpacker) -> None:
    comment = b"52 comment=" + b"0" * 40
    unpacker.unpack(global_header(comment + b"\n") * 9 + global_header(comment) + tarball({"a": b"a"}, ""))
    assert unpacker.found() == {"a": "a"}


def test_a_time_that_holds_for_all_members_is_theirs(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "--format=posix", "--pax-option=mtime=1577836800", "-cf", "x.tar", "a", prepare="echo > a; touch -d @1 a"
    )
    unpacker.unpack(packed)
    assert (unpacker.target / "a").stat().st_mtime == 1577836800


def test_a_name_for_all_members_is_refused(unpacker: Unpacker) -> None:
    with pytest.raises(BadTarball, match="a header that says 'path' of all its members"):
        unpacker.unpack(global_header(b"10 path=x\n") + tarball({"a": b"a"}, ""))


# Links


@pytest.mark.parametrize(
    ("prepare", "member", "reaches"),
    [
        ("ln -s . X11; echo x > file", "X11", "X11/file"),
        ("mkdir -p usr lib; echo x > lib/x.so; ln -s usr/../lib/x.so cur", "cur", "cur"),
        ("mkdir -p a/b; echo x > a/file; ln -s b/../file a/l", "a/l", "a/l"),
        ("mkdir -p a/b; echo x > file; ln -s ../a/b/../../file a/l", "a/l", "a/l"),
    ],
)
def test_a_link_that_stays_inside_is_taken(unpacker: Unpacker, prepare: str, member: str, reaches: str) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "--exclude=x.tar", ".", prepare=prepare)
    unpacker.unpack(packed)
    assert (unpacker.target / member).readlink() == (unpacker.work / member).readlink()
    assert (unpacker.target / reaches).read_text() == "x\n"


def test_a_file_that_was_named_twice_is_there_once(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "a", "a", "./a", prepare="printf hi > a; ln a b")
    unpacker.unpack(packed)
    assert unpacker.found() == {"a": "hi"}


def test_a_hard_link_to_a_symbolic_link_is_one(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "a", "s", "t", prepare="printf hi > a; ln -s a s; ln -P s t")
    unpacker.unpack(packed)
    assert unpacker.found() == {"a": "hi", "s": "-> a", "t": "-> a"}


def test_a_hard_link_that_brings_its_content_is_a_link(unpacker: Unpacker) -> None:
    link = tarfile.TarInfo("b")
    link.type, link.linkname, link.size = tarfile.LNKTYPE, "a", 2
    with_content = link.tobuf() + b"hi" + bytes(510)
    unpacker.unpack(tarball({"a": b"hi"}, "")[:1024] + with_content + tarball({"c": b"c"}, ""))
    assert unpacker.found() == {"a": "hi", "b": "hi", "c": "c"}


def test_what_comes_later_counts(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "bash", "-ec",
        "echo 1 > test; mkdir e; tar -cf x.tar test e; rm -r test e; mkdir test; printf A > test/A; printf e > e;"
        "tar -rf x.tar test e",
    )  # fmt: skip
    unpacker.unpack(packed)
    assert unpacker.found() == {"test": "/", "test/A": "A", "e": "e"}


def test_a_name_that_leads_through_a_link_of_the_tarball_lies_where_that_leads(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "bash", "-ec",
        "mkdir -p usr/lib; ln -s usr/lib lib; tar -cf x.tar usr lib;"
        "rm lib; mkdir -p lib/modules; printf x > lib/modules/x;"
        "tar -rf x.tar lib/modules/x",
    )  # fmt: skip
    unpacker.unpack(packed)
    assert unpacker.found() == {
        "usr": "/", "usr/lib": "/", "usr/lib/modules": "/", "usr/lib/modules/x": "x", "lib": "-> usr/lib",
    }  # fmt: skip


def test_a_loop_of_links_leads_nowhere(unpacker: Unpacker) -> None:
    loop = {name: link(name, target) for name, target in (("a", "b"), ("b", "a"))}
    unpacker.unpack(tarball(loop, ""))
    with pytest.raises(BadTarball, match="too many links"):
        unpacker.unpack(tarball({**loop, "a/x": b"x"}, ""))


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_more_names_of_one_file_than_a_file_system_allows_are_copies(
    unpacker: Unpacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link
    made: list[tuple[str, ...]] = []

    def at_most_two(source: str, target: str, follow_symlinks: bool) -> None:
        if len(made) == 2:
            raise OSError(31, "Too many links")
        made.append((source, target))
        real(source, target, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", at_most_two)  # for ext4 allows 65,000
    files: dict[str, bytes | tarfile.TarInfo] = {
        "a": b"hi",
        **{f"l{n}": link(f"l{n}", "a", tarfile.LNKTYPE) for n in range(4)},
    }
    unpacked = unpacker.unpack(tarball(files, ""))
    assert set(unpacker.found().values()) == {"hi"}
    assert len(unpacked.checksums) == 5


# Selections

LINKED = "mkdir excluded included; printf data > excluded/a; ln excluded/a excluded/b; ln excluded/b included/c"


def test_a_hard_link_to_what_is_excluded_brings_the_file(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "excluded", "included", prepare=LINKED)
    unpacked = unpacker.unpack(packed, excludes=["excluded"])
    assert unpacker.found() == {"included": "/", "included/c": "data"}
    assert unpacked.checksums == {"included/c": checksum(unpacker.target / "included/c")}


def test_two_links_to_what_is_not_included_are_one_file(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "-cf", "x.tar", "excluded", "included", prepare=f"{LINKED}; ln included/c included/d"
    )
    unpacker.unpack(packed, includes=["included/"])
    assert unpacker.found() == {"included": "/", "included/c": "data", "included/d": "data"}
    assert (unpacker.target / "included/c").samefile(unpacker.target / "included/d")


def test_an_image_that_is_a_link_brings_what_it_leads_to(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "-cf", "x.tar", "rootfs-2024.bin", "img.bin", "other",
        prepare="printf image > rootfs-2024.bin; ln -s rootfs-2024.bin img.bin; echo > other",
    )  # fmt: skip
    unpacker.unpack(packed, includes=["img.bin"])
    assert unpacker.found() == {"img.bin": "-> rootfs-2024.bin", "rootfs-2024.bin": "image"}


def test_an_image_that_is_a_link_to_nothing_is_told_so(unpacker: Unpacker) -> None:
    with pytest.raises(BadTarball, match=r"it holds a link to 'gone\.bin', which is to be unpacked"):
        unpacker.unpack(tarball({"img.bin": link("img.bin", "gone.bin"), "x": b""}, ""), includes=["img.bin"])


def test_what_is_included_below_a_link_is_told_so(unpacker: Unpacker) -> None:
    files: dict[str, bytes | tarfile.TarInfo] = {"im/2024/img.bin": b"x", "im/latest": link("im/latest", "2024")}
    with pytest.raises(BadTarball, match=r"it holds no im/latest/img\.bin; 'im/latest' is a link to '2024'"):
        unpacker.unpack(tarball(files, ""), includes=["im/latest/img.bin"])


@pytest.mark.parametrize("name", ["img.bin", "./img.bin", "././img.bin", ".//img.bin"])
def test_a_name_is_selected_in_whatever_spelling(unpacker: Unpacker, name: str) -> None:
    packed = tarball({name: b"x", f"{name}.other": b"y"}, "")
    unpacker.unpack(packed, includes=["img.bin/"])
    assert unpacker.found() == {"img.bin": "x"}


def test_an_exclude_with_a_slash_behind_it_excludes(unpacker: Unpacker) -> None:
    unpacker.unpack(tarball({"a/b/c": b"x", "a/d": b"y"}, ""), excludes=["a/b/"])
    assert unpacker.found() == {"a": "/", "a/d": "y"}


# What may not be

ROOT_FILE_SYSTEM: dict[str, bytes | tarfile.TarInfo] = {
    "etc/mtab": link("etc/mtab", "/proc/mounts"),
    "dev/null": link("dev/null", "", tarfile.CHRTYPE),
    "run/pipe": link("run/pipe", "", tarfile.FIFOTYPE),
    "../outside": b"x",
    "Icon\r": b"",
    "bin/sh": b"program",
    "bin/same": link("bin/same", "dev/null", tarfile.LNKTYPE),
    "up": link("up", "bin/../../outside"),
}


def test_what_may_not_be_refuses_the_whole_tarball(unpacker: Unpacker) -> None:
    with pytest.raises(BadTarball, match="'/proc/mounts', which may leave it"):
        unpacker.unpack(tarball(ROOT_FILE_SYSTEM, ""))


def test_what_may_not_be_is_left_out_where_it_is_to_be(unpacker: Unpacker) -> None:
    unpacked = unpacker.unpack(tarball(ROOT_FILE_SYSTEM, ""), leaves_out=True)
    assert {path: what for path, what in unpacker.found().items() if what != "/"} == {"bin/sh": "program"}
    assert unpacked.left_out.count == 7
    assert sorted(unpacked.left_out.names) == sorted(set(ROOT_FILE_SYSTEM) - {"bin/sh"})
    assert not (unpacker.root / "outside").exists()


def test_limits_hold_whatever_is_left_out(unpacker: Unpacker) -> None:
    pipes = {f"p{n}": link(f"p{n}", "", tarfile.FIFOTYPE) for n in range(200)}
    with pytest.raises(BadTarball, match="more than 100 files"):
        unpacker.unpack(tarball(pipes, ""), limits=UnpackLimits(max_files=100), leaves_out=True)


def test_a_path_that_no_file_can_have_is_refused(unpacker: Unpacker) -> None:
    with pytest.raises(BadTarball, match="too long"):
        unpacker.unpack(pax_member("x", {"path": "/".join(["d" * 200] * 30)}) + bytes(1024))


# What the headers say


def test_a_long_name_ends_with_its_null_byte(unpacker: Unpacker) -> None:
    info = tarfile.TarInfo("././@LongLink")
    name = b"n" * 120 + b"\0junk"
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, len(name)
    unpacker.unpack(info.tobuf() + name + bytes(-len(name) % 512) + tarball({"a": b"a"}, ""))
    assert unpacker.found() == {"n" * 120: "a"}


def test_a_name_in_a_header_ends_with_its_null_byte(unpacker: Unpacker) -> None:
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[2:10] = b"leftover"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    unpacker.unpack(bytes(header) + bytes(1024))
    assert unpacker.found() == {"a": ""}


def test_a_size_is_of_the_file_and_not_of_the_header_between(unpacker: Unpacker) -> None:
    pax = pax_member("x", {"size": "2048"})[:1024]
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 2
    smuggled = tarball({"smuggled": b""}, "")[:512]
    content = smuggled + b"x" * 1536
    file = tarfile.TarInfo("file")
    unpacker.unpack(pax + long_name.tobuf() + b"f\0" + bytes(510) + file.tobuf() + content + bytes(1024))
    assert unpacker.found() == {"f": content.decode("latin-1")}


def test_an_empty_archive_holds_nothing(unpacker: Unpacker) -> None:
    unpacker.unpack(unpacker.made_by("tar", "-cf", "x.tar", "-T", "/dev/null"))
    assert unpacker.found() == {}


def test_a_hard_link_whose_directory_has_no_member_is_one(unpacker: Unpacker) -> None:
    packed = unpacker.made_by(
        "tar", "--no-recursion", "-cf", "x.tar", "a", "d/b", prepare="printf hi > a; mkdir d; ln a d/b"
    )
    unpacker.unpack(packed)
    assert unpacker.found() == {"a": "hi", "d": "/", "d/b": "hi"}


def test_a_directory_that_comes_several_times_is_there_once(unpacker: Unpacker) -> None:
    packed = unpacker.made_by("tar", "-cf", "x.tar", "d", "./d", "d/", prepare="mkdir d; printf hi > d/a; ln d/a d/b")
    unpacker.unpack(packed)
    assert unpacker.found() == {"d": "/", "d/a": "hi", "d/b": "hi"}


# Several tarballs, by a devserver

CATALOGUE = """
[[artifact]]
name = "symbols"
pattern = "debug-*.tar"
several = true
unpack = true
synchronous = true
includes = ["usr", "etc"]
unsafe = "skip"

[[artifact]]
name = "image"
pattern = "image.tar.xz"
on_request = true
unpack = true
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevServer, FakeArchive]]:
    """A devserver of builds that have several tarballs in one directory."""
    catalogue = tmp_path_factory.mktemp("tarballs") / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    with FakeArchive() as archive:
        environment = {"STORAGE_EMULATOR_HOST": archive.url}
        server = DevServer(catalogue.parent, "--catalog", str(catalogue), environment=environment)
        yield server, archive
        server.close()


def test_two_tarballs_in_one_directory_are_one_tree(server: tuple[DevServer, FakeArchive]) -> None:
    devserver, archive = server
    archive.put("b", "t/two/debug-1.tar", tarball({"usr/lib/a": b"1", "usr/both": b"1", "etc/x": b"x"}, ""))
    archive.put("b", "t/two/debug-2.tar", tarball({"usr/lib/b": b"2", "usr/both": b"2"}, ""))
    assert devserver.download("gs://b/t/two").status_code == 200
    found = {name: devserver.get(f"/static/t/two/usr/{name}").text for name in ("lib/a", "lib/b", "both")}
    assert found == {"lib/a": "1", "lib/b": "2", "both": "2"}


def test_each_path_that_is_to_be_included_has_to_be_there(server: tuple[DevServer, FakeArchive]) -> None:
    devserver, archive = server
    archive.put("b", "t/less/debug-1.tar", tarball({"usr/lib/a": b"1"}, ""))
    assert cause_of(devserver.download("gs://b/t/less")).endswith("cannot be unpacked: it holds no etc")


def test_what_was_left_out_is_on_the_page_and_in_the_log(server: tuple[DevServer, FakeArchive]) -> None:
    devserver, archive = server
    files: dict[str, bytes | tarfile.TarInfo] = {
        "usr/x": b"x",
        "etc/mtab": link("etc/mtab", "/proc/mounts"),
        "etc/<b>": link("etc/<b>", "", tarfile.FIFOTYPE),
    }
    archive.put("b", "t/root/debug-1.tar", tarball(files, ""))
    assert devserver.download("gs://b/t/root").status_code == 200
    page = devserver.get("/builds/t/root").text
    assert "2 members of its tarball may not be, and were left out" in page
    assert "etc/mtab" in page
    assert "etc/&lt;b&gt;" in page
    assert "left out what may not be: 'etc/mtab', 'etc/<b>'" in devserver.log
    assert requests.delete(f"{devserver.url}/api/v1/builds/t/root", timeout=20).ok
    assert not (devserver.static_dir / "t/root").exists()


def test_empty_directories_of_a_tarball_go_with_the_build(server: tuple[DevServer, FakeArchive]) -> None:
    devserver, archive = server
    folder = tarfile.TarInfo("etc/empty/deeper")
    folder.type = tarfile.DIRTYPE
    archive.put("b", "t/empty/debug-1.tar", tarball({"etc/empty/deeper": folder, "usr/x": b"x"}, ""))
    assert devserver.download("gs://b/t/empty").status_code == 200
    assert (devserver.static_dir / "t/empty/etc/empty/deeper").is_dir()
    assert requests.delete(f"{devserver.url}/api/v1/builds/t/empty", timeout=20).ok
    assert not (devserver.static_dir / "t/empty").exists()


def test_an_image_with_holes_is_served_whole_and_counts_what_it_takes(
    server: tuple[DevServer, FakeArchive], unpacker: Unpacker
) -> None:
    devserver, archive = server
    packed = unpacker.made_by("tar", "--sparse", "-cJf", "x.tar", "image.bin", prepare=MAKE_SPARSE)
    archive.put("b", "t/image/image.tar.xz", packed.read_bytes())
    assert devserver.get("/stage", archive_url="gs://b/t/image", artifacts="image").status_code == 200
    content = (unpacker.work / "image.bin").read_bytes()
    url = f"{devserver.url}/static/t/image/image.bin"
    assert requests.get(url, timeout=20).content == content
    for start, end in ((0, 10), (1000, 5000), (819_000, 830_000), (30_000_000, 30_100_000), (41_943_000, 41_943_039)):
        part = requests.get(url, headers={"Range": f"bytes={start}-{end}"}, timeout=20)
        assert (part.status_code, part.content) == (206, content[start : end + 1])
    size = devserver.get("/api/v1/builds/t/image").json()["size"]
    assert 160_000 < size < 1_000_000
    assert (devserver.static_dir / "t/image/image.bin").stat().st_blocks * 512 < 1_000_000
