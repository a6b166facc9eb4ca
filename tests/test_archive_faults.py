"""What an archive may do wrong, and what callers are told."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds import FULL_PAYLOAD, Build, make_build, noise, tarball
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault
from tests.servers import DevServer, cause_of, check_success

SIZE = 300_000

pytestmark = pytest.mark.shared_server


@pytest.mark.parametrize("where", ["list", FULL_PAYLOAD, "autotest.tar.bz2"])
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (
            Fault(status=401),
            "AccessDenied: Not allowed to read {url}: the archive asks for credentials, and this devserver has none",
        ),
        (Fault(status=403), "AccessDenied: Not allowed to read {url}: the archive answered 403"),
        (Fault(status=404), "ObjectNotFound: Could not find {url}"),
        (Fault(status=429), "ArchiveUnavailable: Could not read {url}: the archive answered 429"),
        (Fault(status=503), "ArchiveUnavailable: Could not read {url}: the archive answered 503"),
    ],
)
def test_a_refusal_is_told(
    server: DevServer, archive: FakeArchive, build: Build, where: str, fault: Fault, cause: str
) -> None:
    archive.fail_always(where, fault)
    answer = server.download(build.url, background="false")
    assert answer.status_code == 500
    url = build.url if where == "list" else f"{build.url}/{where}"
    if where == "list" and cause.startswith("AccessDenied"):
        cause = cause.replace("{url}: ", "{url}: to list what is there takes more than to read it: ")
    assert cause_of(answer) == cause.format(url=url)
    archive.heal()
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.parametrize("action", ["cut", "reset", "stall"])
def test_an_archive_that_keeps_breaking_off_is_told(
    start_server: StartServer, archive: FakeArchive, build: Build, action: str
) -> None:
    server = start_server("--stall-timeout", "0.3", "--retry-deadline", "1")
    archive.fail_always(FULL_PAYLOAD, Fault(after=0, action=action))
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer).startswith(f"ArchiveUnavailable: Could not read {build.url}/{FULL_PAYLOAD}: the archive ")
    archive.heal()
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.parametrize("where", ["list", FULL_PAYLOAD, "stateful.tgz", "autotest.tar.bz2"])
@pytest.mark.parametrize(
    "fault",
    [Fault(status=503), Fault(status=429, headers={"Retry-After": "1"}), Fault(after=500, action="cut")],
    ids=["503", "429", "cut"],
)
def test_what_passes_is_tried_again(
    server: DevServer, archive: FakeArchive, build: Build, where: str, fault: Fault
) -> None:
    archive.fail_once(where, fault, fault)
    started = time.monotonic()
    server.stage(build.url)
    build.check_staged(server.static_dir)
    if fault.headers:
        assert time.monotonic() - started >= 2.0


def test_an_archive_that_is_down_is_told(start_server: StartServer, archive: FakeArchive, build: Build) -> None:
    with FakeArchive() as gone:
        address = gone.url
    server = start_server("--retry-deadline", "0.5", STORAGE_EMULATOR_HOST=address)
    answer = server.download(build.url)
    assert answer.status_code == 500
    assert cause_of(answer) == f"ArchiveUnavailable: Could not read {build.url}: the archive refused the connection"


def test_a_build_that_is_not_in_the_archive_is_told(server: DevServer, build: Build) -> None:
    url = build.url.replace("b1346", "b9999")
    answer = server.download(url)
    assert answer.status_code == 500
    assert cause_of(answer) == f"ObjectNotFound: Could not find {url}"


@pytest.mark.parametrize("name", [FULL_PAYLOAD, "autotest.tar.bz2"])
def test_corrupt_bytes_are_never_published(server: DevServer, archive: FakeArchive, build: Build, name: str) -> None:
    archive.fail_always(name, Fault(after=777, action="flip"))
    answer = server.download(build.url, background="false")
    assert cause_of(answer).startswith(f"ChecksumMismatch: {build.url}/{name} is corrupt: its crc32c is ")
    build.check_nothing_partial(server.static_dir)


@pytest.mark.parametrize(
    "content",
    [
        b"not a tarball",
        b"",
        tarball({"a": bytes(100_000)})[:-20],
        tarball({"../escape": b"x"}),
        tarball({"/abs": b"x"}),
    ],
    ids=["noise", "empty", "cut", "parent", "absolute"],
)
@pytest.mark.parametrize("name", ["test_suites.tar.bz2", "autotest.tar.bz2"])
def test_a_corrupt_tarball_is_a_failure_with_a_cause(
    server: DevServer, archive: FakeArchive, build: Build, name: str, content: bytes
) -> None:
    archive.put(build.bucket, f"{build.path}/{name}", content)
    answer = server.download(build.url, background="false")
    assert answer.status_code == 500
    assert cause_of(answer).startswith(f"BadTarball: {name} cannot be unpacked: ")
    build.check_nothing_partial(server.static_dir)
    assert not (server.static_dir / build.target / "escape").exists()
    archive.put(build.bucket, f"{build.path}/{name}", build.objects[name])
    server.stage(build.url)
    build.check_staged(server.static_dir)


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress, lzma.compress], ids=["bz2", "gz", "xz"])
def test_a_tarball_of_many_compressed_streams_is_unpacked_whole(
    server: DevServer, archive: FakeArchive, build: Build, compress: Callable[[bytes], bytes]
) -> None:
    files = {f"autotest/test_suites/control.{n}": noise(50_000, str(n)) for n in range(20)}
    plain = tarball(files, "")
    streams = b"".join(compress(plain[start : start + 100_000]) for start in range(0, len(plain), 100_000))
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", streams)
    check_success(server.download(build.url))
    for name, content in files.items():
        assert (server.static_dir / build.path / name).read_bytes() == content


def test_an_object_that_changed_since_the_listing_is_fetched_as_it_is_now(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("list") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        archive.put(build.bucket, f"{build.path}/{FULL_PAYLOAD}", b"a new payload")
    check_success(download.result(20))
    check_success(server.wait_for_status(build.url))
    build.files["update.gz"] = b"a new payload"
    build.check_staged(server.static_dir)


def test_an_object_that_is_gone_since_the_listing_is_not_found(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    with archive.holding("list") as reached:
        download = server.ask("/download", archive_url=build.url)
        assert reached.wait(10)
        archive.remove(build.bucket, f"{build.path}/{FULL_PAYLOAD}")
    assert cause_of(download.result(20)) == f"ObjectNotFound: Could not find {build.url}/{FULL_PAYLOAD}"


@pytest.mark.parametrize("offset", [100, 3_000_000, 5_999_000])
@pytest.mark.parametrize("action", ["flip", "cut", "reset"])
@pytest.mark.parametrize("name", ["test_suites.tar.bz2", FULL_PAYLOAD])
def test_one_fault_in_a_big_object_ends_in_the_right_bytes(
    server: DevServer, archive: FakeArchive, build: Build, name: str, action: str, offset: int
) -> None:
    files = {f"autotest/test_suites/control.{n}": noise(1_000_000, str(n)) for n in range(6)}
    build.objects[name] = tarball(files) if name.endswith("bz2") else noise(6_000_000, "payload")
    build.upload(archive)
    start = offset // (4 * 1024**2) * 4 * 1024**2  # of the slice
    is_done = False

    def hook(asked: str, asked_start: int) -> None:
        nonlocal is_done
        if asked == name and asked_start == start and not is_done:
            is_done = True
            archive.fail_once(name, Fault(after=offset - start, action=action))

    archive.call_before_reads(hook)
    check_success(server.download(build.url))
    if name == FULL_PAYLOAD:
        assert (server.static_dir / build.path / "update.gz").read_bytes() == build.objects[name]
    else:
        for path, content in files.items():
            assert (server.static_dir / build.path / path).read_bytes() == content
    assert archive.bytes_sent(name) <= 2.1 * len(build.objects[name])


@pytest.mark.parametrize("name", ["test_suites.tar.bz2", FULL_PAYLOAD])
def test_an_object_whose_checksum_no_listing_states_is_verified_all_the_same(
    server: DevServer, archive: FakeArchive, build: Build, name: str
) -> None:
    archive.change_resource = lambda resource, is_listed: {
        key: value for key, value in resource.items() if not (is_listed and key == "crc32c")
    }
    archive.fail_once(name, Fault(), Fault(after=77, action="flip"))
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert len([fetch for fetch in archive.fetches if fetch.name == name]) == 2


@pytest.mark.parametrize("name", ["test_suites.tar.bz2", FULL_PAYLOAD])
def test_one_flipped_byte_costs_one_more_fetch(server: DevServer, archive: FakeArchive, name: str) -> None:
    content = noise(SIZE, "payload")
    whole = tarball({"autotest/test_suites/control.x": content}) if name.endswith("bz2") else content
    staged = "autotest/test_suites/control.x" if name.endswith("bz2") else "update.gz"
    for offset in random.Random(11).sample(range(SIZE), 30):
        build = make_build(version=f"R{len(name)}-{offset}.0.0")
        build.objects[name] = whole
        build.upload(archive)
        archive.forget()
        archive.fail_once(name, Fault(after=offset, action="flip"))
        check_success(server.download(build.url))
        assert (server.static_dir / build.path / staged).read_bytes() == content, offset
        assert archive.bytes_sent(name) <= 2 * len(whole), offset


def test_a_big_hostile_tarball_is_told_as_such(server: DevServer, archive: FakeArchive, build: Build) -> None:
    files = {"../escape": b"x", **{f"f{n}": noise(1_000_000, str(n)) for n in range(8)}}
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", tarball(files))
    assert cause_of(server.download(build.url)).startswith(
        "BadTarball: test_suites.tar.bz2 cannot be unpacked: it holds"
    )


def test_an_archive_that_goes_away_while_a_tarball_is_unpacked_is_told_as_such(
    server: DevServer, archive: FakeArchive, build: Build
) -> None:
    files = {f"f{n}": noise(1_000_000, str(n)) for n in range(8)}
    archive.put(build.bucket, f"{build.path}/test_suites.tar.bz2", tarball(files))

    def hook(name: str, start: int) -> None:
        if name == "test_suites.tar.bz2" and start:
            archive.fail_always(name, Fault(status=503))

    archive.call_before_reads(hook)
    assert cause_of(server.download(build.url)).startswith("ArchiveUnavailable: Could not read ")


ODD_NAMES = (
    *("a\nb.bin", "a\r.bin", "\x1b[2J.bin", "a\x7f.bin", "a\u0085b.bin", "a\u2028b.bin"),
    *("d\n/a.bin", "d/\n/a.bin", "d/a\n.bin"),
)


@pytest.mark.own_server
@pytest.mark.parametrize("scheme", ["gs", "file"])
def test_no_object_with_a_control_character_in_its_name_reaches_the_disk(
    start_server: StartServer, archive: FakeArchive, tmp_path: Path, scheme: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    build = Build(objects={**dict.fromkeys(ODD_NAMES, b"evil"), "good.bin": b"good", "d/good.bin": b"good"})
    build.upload(archive) if scheme == "gs" else build.write(root)
    server = start_server("--archive-root", str(root))
    url = build.url if scheme == "gs" else f"file://{root}/{build.path}"
    for pattern in ("*.bin", "d/*.bin"):
        check_success(server.get("/stage", archive_url=url, files=pattern))
    assert server.get("/stage", archive_url=url, files="*/*/*.bin").status_code == 500  # there is nothing else
    for name in ODD_NAMES:
        assert server.get("/stage", archive_url=url, files=name).status_code == 400
    assert sorted(path.name for path in server.static_dir.rglob("*good.bin")) == ["good.bin", "good.bin"]
    assert [path for path in server.static_dir.rglob("*") if not path.name.isprintable()] == []
