"""Programs that unpack or make packages are waited for until they end, and not for what they started."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest

from staging.decompression import decompressed
from staging.errors import BadTarball
from staging.programs import Output
from tests.builds import Build, noise, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive
from tests.servers import check_success

T = TypeVar("T")

CONTENT = noise(3_000_000, "content")
PACKAGER = b"""#!/bin/sh
sleep 300 &
echo made > "${2#--repository=}/packages.checksum"
echo all is done
"""


def in_time(call: Callable[[], T]) -> T:
    """What ``call`` returns or raises, within a few seconds."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result(20)


@pytest.fixture
def leaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts a program before another of that name, which leaves something that holds its pipes open."""
    pids = tmp_path / "pids"
    pids.touch()

    def replace(name: str) -> None:
        program = tmp_path / "bin" / name
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nsleep 300 &\necho $! >> {pids}\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    yield replace
    for pid in pids.read_text().split():
        os.kill(int(pid), signal.SIGKILL)


def unpacked(packed: bytes) -> bytes:
    with decompressed(io.BytesIO(packed), "object", 256 * 1024**2) as plain:  # type: ignore[arg-type]
        return plain.read()


@pytest.mark.parametrize(("name", "pack"), [("lbzip2", bz2.compress), ("xz", lzma.compress)])
def test_what_a_decompressor_leaves_behind_is_not_waited_for(
    leaving: Callable[[str], None], name: str, pack: Callable[[bytes], bytes]
) -> None:
    leaving(name)
    packed = pack(CONTENT)
    assert in_time(lambda: unpacked(packed)) == CONTENT
    with pytest.raises(BadTarball, match="cannot be unpacked"):
        in_time(lambda: unpacked(packed[:-100_000]))


@pytest.mark.parametrize("left", ["sleep 300", "yes"])
def test_a_program_that_ended_has_said_all(left: str) -> None:
    command = ["sh", "-c", f"{left} & echo $! >&2; head -c 1000000 /dev/zero"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        Output(process, process.stdout) as output,  # type: ignore[arg-type]
    ):
        assert process.stderr is not None
        pid = int(process.stderr.readline())
        try:
            assert in_time(output.readall).count(0) == 1_000_000
        finally:
            os.kill(pid, signal.SIGKILL)


def test_what_a_packager_leaves_behind_is_not_waited_for(
    start_server: StartServer, archive: FakeArchive, build: Build
) -> None:
    content = tarball({"autotest/utils/packager.py": PACKAGER}, mode=0o755)
    archive.put(build.bucket, f"{build.path}/autotest.tar.bz2", content)
    server = start_server("--run-packager")
    check_success(server.download(build.url))
    check_success(server.wait_for_status(build.url, timeout="20"))
    assert server.get(f"/static/{build.path}/autotest/packages.checksum").content == b"made\n"
