"""Small builds for the tests: their objects, and the tree that staging should make of them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_archive import FakeArchive

BUCKET = "chromeos-image-archive"
TARGET = "x86-mario-release"
VERSION = "R17-1413.0.0-a1-b1346"
FULL_PAYLOAD = "chromeos_R17-1413.0.0-a1_x86-mario_full_dev.bin"
NTON_PAYLOAD = "chromeos_R17-1413.0.0-a1_R17-1413.0.0-a1_x86-alex_he_delta_dev.bin"
MTON_PAYLOAD = "chromeos_R16-1193.0.0-a1_R17-1413.0.0-a1_x86-alex_he_delta_dev.bin"
SYNCHRONOUS = (FULL_PAYLOAD, "stateful.tgz", "test_suites.tar.bz2")


def noise(size: int, seed: str) -> bytes:
    """``size`` bytes that do not compress, the same for the same ``seed``."""
    return random.Random(seed).randbytes(size)


def tarball(files: Mapping[str, bytes | tarfile.TarInfo], compression: str = "bz2", mode: int = 0o644) -> bytes:
    """A tarball of ``files``: a path and what it holds, or a member made by hand."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), 1_325_376_000, mode
            tar.addfile(member, io.BytesIO(content))
    plain = buffer.getvalue()
    if compression == "gz":
        return gzip.compress(plain)
    return bz2.compress(plain) if compression else plain


@dataclass
class Build:
    """A build: the content of its objects by name, and the files that staging makes of them."""

    target: str = TARGET
    version: str = VERSION
    bucket: str = BUCKET
    objects: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The build path."""
        return f"{self.target}/{self.version}"

    @property
    def url(self) -> str:
        """The archive URL."""
        return f"gs://{self.bucket}/{self.path}"

    def upload(self, archive: FakeArchive) -> Build:
        """Put every object into ``archive``."""
        for name, content in self.objects.items():
            archive.put(self.bucket, f"{self.path}/{name}", content)
        return self

    def write(self, root: Path) -> Build:
        """Put every object into a directory archive at ``root``."""
        for name, content in self.objects.items():
            path = root / self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self

    def check_staged(self, static_dir: Path) -> None:
        """Assert that all of the build is staged below ``static_dir``, every byte of it right."""
        assert published(static_dir / self.path) == digests(self.files)

    def check_nothing_partial(self, static_dir: Path) -> None:
        """Assert that whatever is published of the build is whole."""
        expected = digests(self.files)
        for name, digest in published(static_dir / self.path).items():
            assert expected.get(name) == digest, f"{name} is not what it should be"


def make_build(scale: int = 1, target: str = TARGET, version: str = VERSION, bucket: str = BUCKET) -> Build:
    """A build with all six artifacts; ``scale`` multiplies its size, of about a megabyte."""
    build = Build(target, version, bucket)
    seed = f"{bucket}/{target}/{version}"
    suites = {"autotest/test_suites/control.bvt": b"SUITE = 'bvt'\n", "autotest/test_suites/control.smoke": b"x = 1\n"}
    packages = {
        f"autotest/packages/{name}": noise(20_000, seed + name) for name in ("packages.checksum", "test-sleep.tar.bz2")
    }
    tests = {f"autotest/client/site_tests/t{n}/control": noise(2000, f"{seed}{n}") for n in range(50 * scale)}
    build.objects = {
        FULL_PAYLOAD: noise(400_000 * scale, seed + "full"),
        "stateful.tgz": tarball({"var_new/hello": noise(100_000 * scale, seed + "stateful")}, "gz"),
        "test_suites.tar.bz2": tarball(suites),
        NTON_PAYLOAD: noise(100_000 * scale, seed + "nton"),
        MTON_PAYLOAD: noise(100_000 * scale, seed + "mton"),
        "autotest.tar.bz2": tarball({"autotest/test_suites/control.stale": b"old\n", **packages, **tests}),
        "image.zip": b"not asked for",
    }
    build.files = {
        "chromiumos_test_image.bin": b"",
        "update.gz": build.objects[FULL_PAYLOAD],
        "stateful.tgz": build.objects["stateful.tgz"],
        **suites,
        **packages,
        **{name.replace("autotest/packages/", "autotest/"): content for name, content in packages.items()},
        **tests,
    }
    for kind, name in (("nton", NTON_PAYLOAD), ("mton", MTON_PAYLOAD)):
        build.files |= {
            f"au/{version}_{kind}/update.gz": build.objects[name],
            f"au/{version}_{kind}/stateful.tgz": build.objects["stateful.tgz"],
            f"au/{version}_{kind}/chromiumos_test_image.bin": b"",
        }
    return build


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """The sha256 of every file's content, by path."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def published(directory: Path) -> dict[str, str]:
    """The sha256 of every file that /static would serve of ``directory``, by path, links followed.

    A link to what is not there yet serves nothing, and is left out.
    """
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if ".devserver" not in path.relative_to(directory).parts and path.is_file()
    }
