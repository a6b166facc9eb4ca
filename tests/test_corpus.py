"""Archives as the world's tools write them: unpacked here and by GNU tar or unzip, they give the same trees.

Compared are names, kinds, bytes, holes, targets of links, which names are one file, times to the second, and modes by
the devserver's rule: 0755 for directories and for what its owner may execute, 0644 for all else.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builds import noise
from tests.unpacking import run, unpacked

_EXTENT = 65_536  # bytes of data or of a hole: more than a block of any file system
_TIME = 981_173_106  # of 2001: even, for MS-DOS counts two seconds
_UTF8 = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Case(NamedTuple):
    """An archive.

    Attributes:
        source: which directory is packed, of :func:`sources`.
        pack: the command that writes ``{}`` from within it; or a function that does.
        unpack: the command that unpacks ``{}`` into the directory that it is started in.
        name: what it is called.
        but: why the times of directories are not compared; empty where they are.

    """

    source: str
    pack: str | Callable[[Path, Path], None]
    unpack: str = "tar -xf {}"
    name: str = "x.tar"
    but: str = ""


def _tarfile(form: int) -> Callable[[Path, Path], None]:
    def pack(source: Path, target: Path) -> None:
        with tarfile.open(target, "w", format=form, errors="surrogateescape") as archive:
            archive.add(source, ".")

    return pack


GNU_FORMATS = {"v7": "short", "ustar": "middle", "oldgnu": "long", "gnu": "long", "pax": "long"}
COMPRESSIONS = {
    "none": ("cat", "cat"),
    "gzip": ("gzip -c", "gzip -dc"),
    "pigz": ("pigz -b 128 -c", "gzip -dc"),
    "bzip2": ("bzip2 -1 -c", "bzip2 -dc"),
    "lbzip2": ("lbzip2 -1 -c", "bzip2 -dc"),
    "xz": ("xz -0 -c", "xz -dc"),
    "xz in blocks": ("xz -0 -T2 --block-size=64KiB -c", "xz -dc"),
    "lzma": ("xz --format=lzma -0 -c", "xz --format=lzma -dc"),
    "zstd": ("zstd -q -c", "zstd -dc"),
    "zstd --long": ("zstd -q --long=27 -c", "zstd --long=27 -dc"),
    "pzstd": ("pzstd -q -c", "zstd -dc"),
    "lz4": ("lz4 -q -c", "lz4 -dc"),
}
BSDTAR_FORMATS = {"v7tar": "short", "ustar": "middle", "gnutar": "long", "pax": "long", "paxr": "long"}
_ORDER = "bsdtar goes on with other directories before it comes back to one, and GNU tar has set its time by then"
BSDTAR_COMPRESSIONS = {"-z": "gzip -dc", "--zstd": "zstd -dc 2>/dev/null", "--lzma": "xz -dc", "--lz4": "lz4 -dc"}


def _gnu_cases() -> dict[str, Case]:
    return {
        f"tar --format={form} | {title}": Case(
            source, f"tar --format={form} -cf - . | {pack} >{{}}", f"{unpack} <{{}} | tar -xf -"
        )
        for form, source in GNU_FORMATS.items()
        for title, (pack, unpack) in COMPRESSIONS.items()
    }


def _bsdtar_cases() -> dict[str, Case]:
    plain = {
        f"bsdtar --format={form}": Case(source, f"bsdtar --format={form} -cf {{}} .", but=_ORDER)
        for form, source in BSDTAR_FORMATS.items()
    }
    packed = {
        f"bsdtar {option} into a pipe": Case(
            "long", f"bsdtar -c {option} -f - . | cat >{{}}", f"{unpack} <{{}} | tar -xf -", but=_ORDER
        )
        for option, unpack in BSDTAR_COMPRESSIONS.items()
    }
    return {**plain, **packed}


OTHERS = {
    "BusyBox tar": Case("middle", "busybox tar -cf {} ."),
    "BusyBox tar -z": Case("middle", "busybox tar -czf {} ."),
    "BusyBox tar -j": Case("middle", "busybox tar -cjf {} ."),
    "tarfile, ustar": Case("middle", _tarfile(tarfile.USTAR_FORMAT)),
    "tarfile, GNU": Case("long", _tarfile(tarfile.GNU_FORMAT)),
    "tarfile, pax": Case("long", _tarfile(tarfile.PAX_FORMAT)),
    "git archive": Case("git", "git archive --format=tar -o {} HEAD"),
    "git archive | gzip": Case("git", "git archive --format=tar.gz -o {} HEAD"),
    "git archive --prefix": Case("git", "git archive --format=tar --prefix=a/b/ -o {} HEAD"),
    "git archive, zip": Case("git", "git archive --format=zip -o {} HEAD", "unzip -q {}", "x.zip"),
    "names without ./": Case("long", "tar -cf {} *"),
    "every name twice": Case("middle", "tar -cf {} . ."),
    "a label": Case("long", "tar --label=nightly -cf {} ."),
    "an incremental dump": Case("long", "tar --listed-incremental={}.snar -cf {} ."),
    "joined by cat": Case("middle", "(tar -cf - dir; tar -cf - plain empty) >{}", "tar -xif {}"),
    "joined by tar -A": Case("middle", "tar -cf {} dir && tar -cf {}.2 plain && tar -Af {} {}.2"),
    "without an end": Case("middle", "tar -cf - . | head -c -10240 >{}", "tar -xf {}"),
    "files without their directories": Case("middle", "find . -type f -o -type l | tar --no-recursion -T - -cf {}"),
    "blocks of one": Case("long", "tar -b 1 -cf {} ."),
    "blocks of 2048": Case("long", "tar -b 2048 -cf {} ."),
    "a file that was appended again": Case("middle", "tar -cf {} . && tar -rf {} ./plain"),
    "sorted, without owners": Case("long", "tar --sort=name --owner=0 --group=0 --numeric-owner -cf {} ."),
    "xattrs and ACLs": Case("long", "tar --format=posix --xattrs --acls --selinux -cf {} ."),
    "times of nanoseconds": Case("long", "tar --format=posix --pax-option=atime:=1.5 -cf {} ."),
    "hard links as symbolic ones": Case("middle", "tar -cf {} --hard-dereference ."),
    "several streams of gzip": Case(
        "long", "tar -cf - . | split -b 100k --filter='gzip -c' - >{}", "gzip -dc <{} | tar -xf -"
    ),
    "several streams of bzip2": Case(
        "long", "tar -cf - . | split -b 100k --filter='bzip2 -c' - >{}", "bzip2 -dc <{} | tar -xf -"
    ),
    "several streams of xz": Case(
        "long", "tar -cf - . | split -b 100k --filter='xz -0 -c' - >{}", "xz -dc <{} | tar -xf -"
    ),
    "several frames of zstd": Case(
        "long", "tar -cf - . | split -b 100k --filter='zstd -q -c' - >{}", "zstd -dc <{} | tar -xf -"
    ),
    "several frames of lz4": Case(
        "long", "tar -cf - . | split -b 100k --filter='lz4 -q -c' - >{}", "lz4 -dc <{} | tar -xf -"
    ),
    "gzip in gzip": Case("long", "tar -czf - . | gzip -c >{}", "gzip -dc <{} | gzip -dc | tar -xf -"),
    "gzip in xz": Case("long", "tar -czf - . | xz -0 -c >{}", "xz -dc <{} | gzip -dc | tar -xf -"),
    "an empty tarball": Case("short", "tar -cf {} -T /dev/null"),
    "zeros behind gzip": Case("long", "(tar -czf - . ; head -c 1000 /dev/zero) >{}", "gzip -dcq <{} | tar -xf -"),
}
SPARSE = {
    f"sparse, {title} | {pack}": Case(
        "sparse", f"tar -S {options} -cf - . | {pack} >{{}}", f"{unpack} <{{}} | tar -xf -"
    )
    for title, options in {
        "GNU's old format": "--format=oldgnu",
        "GNU's format": "--format=gnu",
        "as chromite packs it": "--hole-detection=raw",
        "pax 0.0": "--format=posix --sparse-version=0.0",
        "pax 0.1": "--format=posix --sparse-version=0.1",
        "pax 1.0": "--format=posix --sparse-version=1.0",
    }.items()
    for pack, unpack in (("cat", "cat"), ("xz -0 -c", "xz -dc"))
}
ZIPS = {
    "zip": "zip -qr {} .",
    "zip -y": "zip -qry {} .",
    "zip -y -0": "zip -qry -0 {} .",
    "zip -y -9": "zip -qry -9 {} .",
    "zip -y -Z bzip2": "zip -qry -Z bzip2 {} .",
    "zip -y -fz": "zip -qry -fz {} .",
    "zip -y into a pipe": "zip -qry - . | cat >{}",
    "zip -y, appended": "zip -qry {} dir && zip -qry {} .",
    "bsdtar --format=zip": "bsdtar --format=zip -cf {} .",
    "bsdtar --format=zip, stored": "bsdtar --format=zip --options zip:compression=store -cf {} .",
    "bsdtar --format=zip into a pipe": "bsdtar --format=zip -cf - . | cat >{}",
    "7z -tzip": "7z a -bd -tzip {} .",
    "7z -tzip -mm=BZip2": "7z a -bd -tzip -mm=BZip2 {} .",
}
CASES = {
    **_gnu_cases(),
    **_bsdtar_cases(),
    **OTHERS,
    **SPARSE,
    "sparse, bsdtar": Case("sparse", "bsdtar --format=pax -cf {} .", but=_ORDER),
    **{title: Case("zip", pack, "unzip -q {}", "x.zip") for title, pack in ZIPS.items()},
    # Debian's unzip knows no LZMA.
    "7z -tzip -mm=LZMA": Case("zip", "7z a -bd -tzip -mm=LZMA {} .", "7z x -bd -snld {} >&2", "x.zip"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories to be packed: each holds what its formats can."""
    directory = tmp_path_factory.mktemp("sources")
    made = {name: directory / name for name in ("short", "middle", "long", "sparse", "zip", "git")}
    _fill(made["short"])
    for name in ("zip", "git", "middle", "long"):
        shutil.copytree(made["short"], made[name], symlinks=True)
    for name in ("short", "middle", "long"):
        os.link(made[name] / "plain", made[name] / "dir" / "same")
    for name in ("middle", "long"):
        _write(made[name] / ("d" * 90) / ("e" * 90) / "f", b"prefix")  # what a prefix in the header holds
    _fill_further(made["long"])
    _fill_with_holes(made["sparse"])
    for path in made.values():
        _set_times(path)
    git = "git -c user.name=n -c user.email=e -c commit.gpgsign=false"
    run(made["git"], f"git init -q && git add -A && TZ=UTC GIT_COMMITTER_DATE='{_TIME} +0000' {git} commit -q -m m")
    return made


def _fill(directory: Path) -> None:
    _write(directory / "plain", b"plain\n" * 100)
    _write(directory / "dir" / "noise", noise(150_000, "noise"), 0o600)
    _write(directory / "dir" / "sub" / "empty", b"")
    _write(directory / "dir" / "program", b"#!/bin/sh\n", 0o755)
    _write(directory / "dir" / "everybody's", b"e", 0o4777)
    _write(directory / "dir" / "read only", b"r", 0o444)
    _write(directory / "Käse" / "日本語", "日本語".encode())
    _write(directory / "a block", bytes(512))
    (directory / "empty").mkdir()
    (directory / "link").symlink_to("dir/noise")
    (directory / "dir" / "sub" / "up").symlink_to("../../plain")
    (directory / "nowhere").symlink_to("dir/missing")


def _fill_further(directory: Path) -> None:
    _write(directory / os.fsdecode(b"latin-1 \xe4"), b"bytes")
    deep = directory / ("f" * 120) / ("g" * 120)
    _write(deep / ("h" * 200), b"long")
    (deep / "link").symlink_to("h" * 200)
    os.link(deep / ("h" * 200), directory / "short name of a long one")
    _write(directory / "back\\slash", b"\\")


def _fill_with_holes(directory: Path) -> None:
    """Files whose data lies at the start, in the middle, in many pieces, at the end, and nowhere."""
    pieces = {"start": [0], "middle": [1], "many": [*range(0, 60, 2)], "end": [64], "nothing": []}
    for name, places in pieces.items():
        _write(directory / "images" / name, b"")
        with (directory / "images" / name).open("r+b") as file:
            file.truncate(65 * _EXTENT)
            for place in places:
                file.seek(place * _EXTENT)
                file.write(noise(_EXTENT, f"{name} {place}"))


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _set_times(directory: Path) -> None:
    for folder, folders, names in os.walk(directory, topdown=False):
        for name in (*names, *folders):
            os.utime(os.path.join(folder, name), (_TIME, _TIME), follow_symlinks=False)  # noqa: PTH118
    os.utime(directory, (_TIME, _TIME))


@pytest.mark.parametrize("title", CASES)
def test_an_archive_unpacks_as_it_does_elsewhere(
    tmp_path: Path, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch, title: str
) -> None:
    for name, value in _UTF8.items():
        monkeypatch.setenv(name, value)
    case = CASES[title]
    packed = tmp_path / case.name
    if callable(case.pack):
        case.pack(sources[case.source], packed)
    else:
        run(sources[case.source], case.pack.format(*[packed] * case.pack.count("{}")))
    (tmp_path / "there").mkdir()
    run(tmp_path / "there", case.unpack.format(packed))
    unpacked(packed, tmp_path / "here")
    here, there = (_listed(tmp_path / name, has_times=not case.but) for name in ("here", "there"))
    assert here == there
    assert here or title == "an empty tarball"


def _listed(directory: Path, has_times: bool) -> dict[str, object]:
    """What is below a directory, by its path; with each file, all names that it has."""
    names: dict[int, set[str]] = {}
    found: dict[str, object] = {}
    for path in directory.rglob("*"):
        below = path.relative_to(directory).as_posix()
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            names.setdefault(status.st_ino, set()).add(below)
        found[below] = (*_described(path, status, has_times), names.get(status.st_ino))
    return found


def _described(path: Path, status: os.stat_result, has_times: bool) -> tuple[object, ...]:
    if stat.S_ISLNK(status.st_mode):
        return "link", path.readlink().as_posix()
    if path.is_dir():
        return "directory", int(status.st_mtime) if has_times else None
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return path.read_bytes(), _data_of(path), mode, int(status.st_mtime)


def _data_of(path: Path) -> list[tuple[int, int]]:
    """From where to where a file has data, and no holes."""
    found = []
    with path.open("rb") as file:
        size = stop = os.fstat(file.fileno()).st_size
        at = 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # there is no more
                break
            stop = at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, stop))
    return found


def test_modes_are_by_the_rule(tmp_path: Path, sources: dict[str, Path]) -> None:
    run(sources["long"], f"tar -cf {tmp_path}/x.tar .")
    unpacked(tmp_path / "x.tar", tmp_path / "here")
    modes = {
        path.relative_to(tmp_path / "here").as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in (tmp_path / "here").rglob("*")
        if not path.is_symlink()
    }
    assert {modes[name] for name in ("dir/noise", "dir/read only", "plain")} == {0o644}
    assert {modes[name] for name in ("dir", "empty", "dir/program", "dir/everybody's")} == {0o755}
    assert set(modes.values()) == {0o644, 0o755}


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120
