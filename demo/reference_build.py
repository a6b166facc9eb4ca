"""A build for demonstrations and measurements: six objects as a real one has them, made of real files."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

from demo.machine_files import NamedBytes, library_pieces, small_files
from demo.tarballs import TreeWriter, bzip2_tarball, gzip_tarball, packed

TARGET = "x86-mario-release"
VERSION = "R17-1413.0.0-a1-b1346"
BUILD_PATH = f"{TARGET}/{VERSION}"

FULL_PAYLOAD = "chromeos_R17-1413.0.0-a1_x86-mario_full_dev.bin"
STATEFUL = "stateful.tgz"
TEST_SUITES = "test_suites.tar.bz2"
NTON_PAYLOAD = "chromeos_R17-1413.0.0-a1_R17-1413.0.0-a1_x86-mario_delta_dev.bin"
MTON_PAYLOAD = "chromeos_R16-1193.0.0-a1_R17-1413.0.0-a1_x86-mario_delta_dev.bin"
AUTOTEST = "autotest.tar.bz2"

_SUITES = {
    "au": ["autoupdate_EndToEnd", "autoupdate_CannedOmaha"],
    "bvt": ["platform_BootPerf", "platform_CryptohomeMount", "login_LoginSuccess"],
    "regression": ["desktopui_UrlFetch", "hardware_RamFio", "network_Ping", "power_Resume"],
    "smoke": ["platform_BootPerf", "login_LoginSuccess"],
}
_TESTS = sorted(set(itertools.chain.from_iterable(_SUITES.values())))
_PACKAGES = ["client-autotest", "dep-chrome_test", "profiler-perf", *(f"test-{test}" for test in _TESTS)]
_SHARE_OF_PACKAGES = 10  # one byte in so many of autotest's is in a package
_FILES_IN_A_ROW = 20  # that go to one of these places, before the next one has its turn
_PLACES = [
    "client/bin",
    "client/common_lib",
    "client/deps/chrome_test",
    *(f"client/site_tests/{test}/src" for test in _TESTS),
    "server/hosts",
    "server/site_tests",
]


@dataclass(frozen=True)
class BuildSizes:
    """How large a build is, in bytes.

    Payloads have their size exactly; a tarball ends with the files that take it to its size, about a mebibyte later.

    Attributes:
        full_payload: of the object.
        stateful: of the object, compressed.
        test_suites: of the files in the tarball.
        nton_payload: of the object.
        mton_payload: of the object.
        autotest: of the files in the tarball; they are small ones, 64 KiB at most, but for the packages.

    """

    full_payload: int = 50_000_000
    stateful: int = 12_000_000
    test_suites: int = 1_000_000
    nton_payload: int = 10_000_000
    mton_payload: int = 12_000_000
    autotest: int = 35_000_000

    @classmethod
    def of_total(cls, total: int) -> BuildSizes:
        """The sizes of a build of ``total`` bytes in all, in the proportions of the default one."""
        default = cls()
        return cls(*(size * total // default.total for size in astuple(default)))

    @property
    def total(self) -> int:
        """The sum."""
        return sum(astuple(self))


def make_reference_build(directory: Path, sizes: BuildSizes) -> dict[str, Path]:
    """Make the build's objects as files in ``directory``, which is made if need be.

    Returns:
        The file of every object, by the object's name.

    Raises:
        NoRealFiles: the machine has no files to make it of.
        OSError, subprocess.CalledProcessError: a file cannot be written; a compressor failed.

    """
    directory.mkdir(parents=True, exist_ok=True)
    objects = {
        name: directory / name for name in (FULL_PAYLOAD, STATEFUL, TEST_SUITES, NTON_PAYLOAD, MTON_PAYLOAD, AUTOTEST)
    }
    with ThreadPoolExecutor(1) as pool:
        images = pool.submit(_make_images, objects, sizes)
        _make_tests(objects, sizes)  # takes longer, and here Ctrl-C ends it at once
        images.result()
    return objects


def _make_images(objects: dict[str, Path], sizes: BuildSizes) -> None:
    """Make what is installed on a device, of large files."""
    pieces = library_pieces()
    _make_payload(objects[FULL_PAYLOAD], sizes.full_payload, pieces)
    _make_payload(objects[NTON_PAYLOAD], sizes.nton_payload, pieces)
    _make_payload(objects[MTON_PAYLOAD], sizes.mton_payload, pieces)
    _make_stateful(objects[STATEFUL], sizes.stateful, pieces)


def _make_tests(objects: dict[str, Path], sizes: BuildSizes) -> None:
    """Make what tests it, of small files."""
    files = small_files()
    _make_test_suites(objects[TEST_SUITES], sizes.test_suites, files)
    _make_autotest(objects[AUTOTEST], sizes.autotest, files)


def _make_payload(path: Path, size: int, pieces: Iterator[NamedBytes]) -> None:
    with path.open("wb") as file:
        while (missing := size - file.tell()) > 0:
            file.write(next(pieces)[1][:missing])


def _make_stateful(path: Path, size: int, pieces: Iterator[NamedBytes]) -> None:
    with path.open("wb") as file, gzip_tarball(file) as tree:
        while file.tell() < size:
            name, data = next(pieces)
            tree.add(f"dev_image/{name}", data)


def _make_test_suites(path: Path, size: int, files: Iterator[NamedBytes]) -> None:
    with bzip2_tarball(path) as tree:
        _add_test_suites(tree)
        while tree.content_bytes < size:
            name, data = next(files)
            tree.add(f"autotest/test_suites/data/{name}", data)


def _make_autotest(path: Path, size: int, files: Iterator[NamedBytes]) -> None:
    with bzip2_tarball(path) as tree:
        tree.add("autotest/utils/packager.py", Path(__file__).with_name("packager.py").read_bytes(), mode=0o755)
        _add_test_suites(tree)
        for test in _TESTS:
            tree.add(f"autotest/{_control_file_of(test)}", _control_of_test(test))
        _add_packages(tree, size // _SHARE_OF_PACKAGES, files)
        for place in itertools.cycle(_PLACES):
            for name, data in itertools.islice(files, _FILES_IN_A_ROW):
                tree.add(f"autotest/{place}/{name}", data)
            if tree.content_bytes >= size:
                return


def _add_packages(tree: TreeWriter, size: int, files: Iterator[NamedBytes]) -> None:
    """Add packages of ``size`` bytes in all before compression, and the list of their checksums."""
    lines = []
    for package in _PACKAGES:
        data = packed(_up_to(size // len(_PACKAGES), files))
        tree.add(f"autotest/packages/{package}.tar.bz2", data)
        lines.append(f"{hashlib.md5(data, usedforsecurity=False).hexdigest()} {package}.tar.bz2\n")
    tree.add("autotest/packages/packages.checksum", "".join(lines).encode())


def _up_to(size: int, files: Iterator[NamedBytes]) -> Iterator[NamedBytes]:
    """Files until they come to ``size`` bytes; one at least."""
    total = 0
    for name, data in files:
        yield name, data
        total += len(data)
        if total >= size:
            return


def _add_test_suites(tree: TreeWriter) -> None:
    control_files = {suite: [_control_file_of(test) for test in tests] for suite, tests in _SUITES.items()}
    tree.add("autotest/test_suites/suite_to_control_file_map", f"{control_files!r}\n".encode())
    for suite in _SUITES:
        tree.add(f"autotest/test_suites/control.{suite}", _control_of_suite(suite))


def _control_file_of(test: str) -> str:
    """Where a test's control file lies, from autotest's root."""
    return f"client/site_tests/{test}/control"


def _control_of_suite(suite: str) -> bytes:
    return f'NAME = "{suite}"\nTEST_TYPE = "server"\nDOC = "Runs the suite {suite}."\n'.encode()


def _control_of_test(test: str) -> bytes:
    suites = ", ".join(suite for suite, tests in _SUITES.items() if test in tests)
    return f'NAME = "{test}"\nSUITE = "{suites}"\nTEST_TYPE = "client"\n\njob.run_test("{test}")\n'.encode()
