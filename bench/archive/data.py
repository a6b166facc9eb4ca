"""What is fetched and served, made once and kept: one large object, two builds, a tiny one, an object of nothing but
zeros, and files of three sizes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.archive.index import BUCKET, IndexedObject, indexed, read_index, write_index
from bench.samples import BenchError
from demo import reference_build
from demo.machine_files import NamedBytes, small_files
from demo.reference_build import AUTOTEST, BUILD_PATH, FULL_PAYLOAD, STATEFUL, TEST_SUITES, BuildSizes

OBJECT = "object.bin"
ZEROS = "zeros.bin"
OBJECT_PATH = "bench/object"
SERVED_PATH = "bench/served"
ZEROS_PATH = "bench/zeros"
ZEROS_WARM_UP_PATH = "bench/zeros-warm-up"
OTHER_BUILD_PATH = f"{BUILD_PATH}-other"
WARM_UP_PATH = f"{BUILD_PATH}-warm-up"
SYNCHRONOUS = (FULL_PAYLOAD, STATEFUL, TEST_SUITES)
TARBALLS = (TEST_SUITES, AUTOTEST)
SMALL_FILES = tuple(f"small-{number}.bin" for number in range(16))
MEDIUM_FILES = tuple(f"medium-{number}.bin" for number in range(16))
LARGE_FILE = "large.bin"

_SMALL_SERVED = 64 * 1024
_PIECE = 1024 * 1024
_TINY = 400_000  # bytes of the build that warms a devserver up


@dataclass(frozen=True)
class DataSizes:
    """How large it all is, in bytes; and of which files autotest's tarball is made, and compressed by what.

    Attributes:
        build: see :class:`demo.reference_build.BuildSizes`.
        large_object: the object that is fetched alone.
        zeros: the one that memory is measured with.
        smallest_file: autotest is made of files of at least this size, of 64 KiB at most.
        compressor: what makes the tarballs of the build, with its own default level.
        medium_served: files of middle size that are served.
        large_served: the large file that is.

    """

    build: BuildSizes
    large_object: int
    zeros: int
    smallest_file: int
    compressor: str
    medium_served: int
    large_served: int

    @property
    def key(self) -> str:
        """Says which sizes these are, to know whether what is there was made with them."""
        return repr(asdict(self))


def full_sizes(compressor: str) -> DataSizes:
    """The reference: 512 MiB; a build of more than 1 GiB, of which 300 MB in 30,000 small files; 4 GiB."""
    build = BuildSizes(
        full_payload=600_000_000,
        stateful=150_000_000,
        test_suites=10_000_000,
        nton_payload=120_000_000,
        mton_payload=150_000_000,
        autotest=300_000_000,
    )
    return DataSizes(build, 512 * 1024**2, 4 * 1024**3, 2200, compressor, 4 * 1024**2, 1024**3)


def quick_sizes(compressor: str) -> DataSizes:
    """A few megabytes, to see that everything works."""
    build = BuildSizes(2_000_000, 500_000, 100_000, 300_000, 300_000, 1_000_000)
    return DataSizes(build, 4 * 1024**2, 64 * 1024**2, 4096, compressor, 512 * 1024, 4 * 1024**2)


@dataclass(frozen=True)
class BenchData:
    """The files, and what the archive is told of them."""

    directory: Path

    @property
    def index(self) -> Path:
        """The archive's index."""
        return self.directory / "index.json"

    def objects(self, path: str) -> dict[str, IndexedObject]:
        """The objects below ``path``, by what their names go on with."""
        prefix = f"{path}/"
        return {
            name.removeprefix(prefix): item for name, item in read_index(self.index).items() if name.startswith(prefix)
        }

    def unpacked_files(self, name: str) -> int:
        """How many regular files the tarball ``name`` of the build holds."""
        return int((self.directory / f"{name}.count").read_text())

    @property
    def build_bytes(self) -> int:
        """Of the build's objects, together."""
        return sum(item.size for item in self.objects(BUILD_PATH).values())

    def warm(self) -> None:
        """Have the files in memory, where the archive's own disk is no part of what is measured."""
        for item in read_index(self.index).values():
            with Path(item.file).open("rb", buffering=0) as file:
                while file.read(_PIECE):
                    pass


def make_data(directory: Path, sizes: DataSizes) -> BenchData:
    """What ``sizes`` asks for, in ``directory``; made anew where something else is there, or half of it."""
    key = directory / "key"
    if not (key.exists() and key.read_text() == sizes.key):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        _make(directory, sizes)
        key.write_text(sizes.key)
    return BenchData(directory)


def _make(directory: Path, sizes: DataSizes) -> None:
    build = _make_build(directory, sizes)
    tiny = reference_build.make_reference_build(directory / "tiny", BuildSizes.of_total(_TINY))
    objects = {f"{OBJECT_PATH}/{OBJECT}": indexed(_random_file(directory / OBJECT, sizes.large_object))}
    for name, path in build.items():
        item = indexed(path)
        objects[f"{BUILD_PATH}/{name}"] = objects[f"{OTHER_BUILD_PATH}/{name}"] = item
    objects |= {f"{WARM_UP_PATH}/{name}": indexed(path) for name, path in tiny.items()}
    # An object of that size was uploaded in parts, and has no md5.
    zeros = indexed(_zeros_file(directory / ZEROS, sizes.zeros), with_md5=False)
    objects[f"{ZEROS_PATH}/{ZEROS}"] = zeros
    few_zeros = indexed(_zeros_file(directory / f"few-{ZEROS}", _PIECE))
    objects[f"{ZEROS_WARM_UP_PATH}/{ZEROS}"] = few_zeros
    objects |= {f"{SERVED_PATH}/{path.name}": indexed(path) for path in _make_served(directory / "to-serve", sizes)}
    write_index(directory / "index.json", objects)


def _make_served(directory: Path, sizes: DataSizes) -> list[Path]:
    """What servers are compared with: several small files, as many of middle size, and a large one."""
    directory.mkdir()
    small = [_random_file(directory / name, _SMALL_SERVED) for name in SMALL_FILES]
    medium = [_random_file(directory / name, sizes.medium_served) for name in MEDIUM_FILES]
    return [*small, *medium, _random_file(directory / LARGE_FILE, sizes.large_served)]


def _make_build(directory: Path, sizes: DataSizes) -> dict[str, Path]:
    build = reference_build.make_reference_build(directory / "build", replace(sizes.build, autotest=1))
    files = _files_of_at_least(sizes.smallest_file)
    reference_build._make_autotest(build[AUTOTEST], sizes.build.autotest, files)  # the demo makes it of any files
    for name in TARBALLS:
        _compress_anew(build[name], sizes.compressor)
        (directory / f"{name}.count").write_text(str(_count_files(build[name])))
    return build


def _files_of_at_least(size: int) -> Iterator[NamedBytes]:
    return (file for file in small_files() if len(file[1]) >= size)


def _compress_anew(path: Path, compressor: str) -> None:
    """Have a ``.tar.bz2`` be one that ``compressor`` made: pbzip2 unpacks on all cores only what pbzip2 packed."""
    new = path.with_name(f"new-{path.name}")
    with new.open("wb") as target, subprocess.Popen(["lbzip2", "-dc", str(path)], stdout=subprocess.PIPE) as source:  # noqa: S603, S607 - a program's own name, and a path made here
        subprocess.run([compressor, "--stdout"], stdin=source.stdout, stdout=target, check=True)  # noqa: S603 - one of three names
    new.replace(path)


def _count_files(tarball: Path) -> int:
    listing = subprocess.run(  # noqa: S603 - a path made here
        ["tar", "--use-compress-program=lbzip2", "-tf", str(tarball)],  # noqa: S607 - a program's own name
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    count = sum(not line.endswith(b"/") for line in listing.splitlines())
    if not count:
        raise BenchError(f"{tarball.name} holds no files")
    return count


def _random_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(os.urandom(min(_PIECE, size - file.tell())))
    return path


def _zeros_file(path: Path, size: int) -> Path:
    """A file of zeros that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def url_of(path: str) -> str:
    """The archive's URL of what lies below ``path``, as the devserver, gsutil and the rest spell it."""
    return f"gs://{BUCKET}/{path}"
