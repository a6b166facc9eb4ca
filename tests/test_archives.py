"""Every archive keeps the same promises: one suite, run over all of them."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.auth import exceptions as auth

from staging.archives import Archive, ArchiveUrl, gcs_client, open_archive
from staging.archives.gcs_errors import translated
from staging.errors import (
    AccessDenied,
    ArchiveRefused,
    ArchiveUnavailable,
    DevServerError,
    InvalidArchiveUrl,
    ObjectChanged,
    ObjectNotFound,
)
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.fake_archive import FakeArchive, Fault, crc32c_of
from tests.servers import eventually

Put = Callable[[str, bytes], None]


@pytest.fixture(autouse=True)
def _own_client() -> Iterator[None]:
    """Google's client reads the address of its archive once; each test has one of its own."""
    gcs_client.forget_client()
    yield
    gc.collect()  # Google's client leaves the connection of a refused request to the garbage collector
    if gcs_client._current is not None:
        gcs_client._current.drop_connections()
    gcs_client.forget_client()


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """The address of gcp-storage-emulator."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory", "--host", "127.0.0.1"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(params=["directory", "scripted", "emulator"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Archive, Put]]:
    """An archive with a small build in it, and a way to put another object there."""
    build = make_build(bucket=f"bucket-{request.node.name.translate(str.maketrans('[]_', '---'))[-40:].strip('-')}")
    if request.param == "directory":
        build.write(tmp_path)
        url = ArchiveUrl.parse(f"file://{tmp_path}/{build.path}", [tmp_path])
        yield open_archive(url, 5), lambda name, content: put_file(tmp_path / build.path / name, content)
        return
    address = archive.url if request.param == "scripted" else request.getfixturevalue("emulator")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    put = put_scripted(archive, build) if request.param == "scripted" else put_emulated(build)
    for name, content in build.objects.items():
        put(name, content)
    yield open_archive(ArchiveUrl.parse(build.url), 5), put


def put_file(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_scripted(archive: FakeArchive, build: Build) -> Put:
    return lambda name, content: archive.put(build.bucket, f"{build.path}/{name}", content)


def put_emulated(build: Build) -> Put:
    bucket = gcs_client.current_client().client.create_bucket(build.bucket)
    return lambda name, content: bucket.blob(f"{build.path}/{name}").upload_from_string(content)


def test_a_listing_describes_every_object(opened: tuple[Archive, Put]) -> None:
    archive, put = opened
    put("deep/er/file.txt", b"abc")
    objects = {item.name: item for item in archive.list()}
    expected = make_build().objects.keys() | {"deep/er/file.txt"}
    assert set(objects) == expected
    assert objects["deep/er/file.txt"].size == 3
    assert objects["deep/er/file.txt"].crc32c in ("", crc32c_of(b"abc"))
    assert objects["deep/er/file.txt"] == archive.describe("deep/er/file.txt")


def test_ranges_are_read(opened: tuple[Archive, Put]) -> None:
    archive, put = opened
    content = bytes(range(256)) * 40
    put("file.bin", content)
    item = archive.describe("file.bin")
    for start, stop in [(0, 1), (0, len(content)), (5, 77), (len(content) - 1, len(content))]:
        assert b"".join(archive.read(item, start, stop)) == content[start:stop]


def test_what_is_not_there_is_not_found(opened: tuple[Archive, Put]) -> None:
    archive, _ = opened
    with pytest.raises(ObjectNotFound, match=r"Could not find .*/nothing\.bin"):
        archive.describe("nothing.bin")


def test_a_changed_object_is_not_read(opened: tuple[Archive, Put], request: pytest.FixtureRequest) -> None:
    if "emulator" in request.node.name:
        pytest.skip("the emulator keeps no generations apart")
    archive, put = opened
    put("file.bin", b"one")
    item = archive.describe("file.bin")
    put("file.bin", b"two")
    with pytest.raises(ObjectChanged, match=r"file\.bin changed while it was read"):
        list(archive.read(item, 0, 3))


def test_a_whole_build_is_staged_from_the_emulator(
    emulator: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    build = make_build(bucket="a-whole-build")
    put = put_emulated(build)
    for name, content in build.objects.items():
        put(name, content)
    server = start_server(STORAGE_EMULATOR_HOST=emulator)
    server.stage(build.url)
    build.check_staged(server.static_dir)


def test_a_listing_of_many_pages_is_whole(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    for number in range(2500):
        archive.put("bucket", f"target/version/{number:04}", b"")
    listed = open_archive(ArchiveUrl.parse("gs://bucket/target/version"), 5).list()
    assert [item.name for item in listed] == [f"{number:04}" for number in range(2500)]


# Google's session leaves the answer 401 to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=400), ArchiveRefused),
        (Fault(status=401), AccessDenied),
        (Fault(status=403), AccessDenied),
        (Fault(status=404), ObjectChanged),
        (Fault(status=408), ArchiveUnavailable),
        (Fault(status=429), ArchiveUnavailable),
        (Fault(status=500), ArchiveUnavailable),
        (Fault(status=502), ArchiveUnavailable),
        (Fault(status=503), ArchiveUnavailable),
        (Fault(after=3, action="cut"), ArchiveUnavailable),
        (Fault(after=3, action="reset"), ArchiveUnavailable),
        (Fault(after=3, action="stall"), ArchiveUnavailable),
    ],
    ids=lambda value: f"{value.status or value.action}" if isinstance(value, Fault) else "",
)
def test_what_google_raises_is_translated(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch, fault: Fault, kind: type[DevServerError]
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    archive.put("bucket", "target/version/file", b"some content")
    opened = open_archive(ArchiveUrl.parse("gs://bucket/target/version"), 0.3)
    item = opened.describe("file")
    archive.fail_always("file", fault)
    with pytest.raises(kind) as told:
        list(opened.read(item, 0, 12))
    assert type(told.value) is kind
    assert "gs://bucket/target/version/file" in str(told.value)
    assert "127.0.0.1" not in str(told.value)


def test_credentials_that_do_not_work_are_told(archive: FakeArchive) -> None:
    with pytest.raises(AccessDenied, match="credentials do not work"), translated("gs://bucket/x"):
        raise auth.RefreshError("no")  # type: ignore[no-untyped-call]


GOOD = "gs://bucket/target/version"


@pytest.mark.parametrize("text", [GOOD, GOOD + "/", "gs://bucket//target///version//"])
def test_all_spellings_of_a_url_are_one(text: str) -> None:
    assert str(ArchiveUrl.parse(text)) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket/target/version",
        "http://bucket/target/version",
        "GS://bucket/target/version",
        "gs:/bucket/target/version",
        "gs://",
        "gs:///target/version",
        "gs://bucket",
        "gs://bucket/target",
        "gs://../target/version",
        "gs://bucket/../version",
        "gs://bucket/target/..",
        "gs://bucket/./target/version",
        "gs://bucket/target/version?generation=1",
        "gs://bucket/target/version#1",
        "gs://bucket/target\\version/x",
        "gs://bucket/target/ver\x00sion",
        "gs://bucket/target/ver\nsion",
        "gs://bucket/target/.devserver",
        "gs://bucket/.devserver/locks",
        f"gs://bucket/target/{'x' * 256}",
        "gs://bucket/" + "/".join(["x" * 200] * 6),
        "file://target/version",
        "file:///elsewhere/target/version",
        "file:///root/../etc/target/version",
    ],
)
def test_what_is_no_archive_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidArchiveUrl):
        ArchiveUrl.parse(text, [Path("/root")])


def test_a_directory_archive_ends_at_its_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    make_build().write(root)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    build = root / "x86-mario-release" / "R17-1413.0.0-a1-b1346"
    (build / "link").symlink_to(outside / "secret")
    archive = open_archive(ArchiveUrl.parse(f"file://{build}", [root]), 5)
    assert "link" not in [item.name for item in archive.list()]
    (root / "target").mkdir()
    (root / "target" / "version").symlink_to(outside)
    with pytest.raises(InvalidArchiveUrl):
        ArchiveUrl.parse(f"file://{root}/target/version", [root])
