"""The archive's credentials on a bad day: what may pass is waited for, and what does not says why."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from staging.archives import Archive, ArchiveUrl, gcs_client, open_archive
from staging.errors import AccessDenied, ArchiveRefused, ArchiveUnavailable
from staging.executors import reach
from tests.builds import Build, make_build
from tests.conftest import StartServer
from tests.credentials import HttpServer, as_json, invalid_grant, machine, tokens, write_service_account
from tests.fake_archive import FakeArchive
from tests.servers import cause_of, check_success, eventually

TOKEN = "ya29.a0-first-token-of-the-lab"

# Google's session leaves the answer 401 to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _own_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of this machine's own credentials, and a client for each test."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GCE_METADATA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    gcs_client.forget_client()
    yield
    gcs_client.forget_client()


@pytest.fixture
def token_server() -> Iterator[HttpServer]:
    with HttpServer(tokens(TOKEN)) as server:
        yield server


@pytest.fixture
def private(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> FakeArchive:
    """An archive that takes a token, at the address where Google's client looks for it."""
    archive.token = TOKEN
    archive.put("bucket", "target/version/file", b"some content")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", archive.url)
    return archive


def opened() -> Archive:
    return open_archive(ArchiveUrl.parse("gs://bucket/target/version"), 2)


def use(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


def read_all() -> bytes:
    archive = opened()
    item = archive.describe("file")
    return b"".join(archive.read(item, 0, item.size))


def test_a_private_bucket_is_read_with_a_token(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, write_service_account(tmp_path / "key.json", token_server.url))
    assert read_all() == b"some content"
    assert len(token_server.asked) == 1


def test_a_token_endpoint_that_is_away_for_a_while_is_waited_for(
    start_server: StartServer, private: FakeArchive, token_server: HttpServer, tmp_path: Path
) -> None:
    build = make_build().upload(private)
    token_server.go()
    server = start_server(
        "--retry-deadline",
        "20",
        STORAGE_EMULATOR_HOST="",
        API_ENDPOINT_OVERRIDE=private.url,
        GOOGLE_APPLICATION_CREDENTIALS=str(write_service_account(tmp_path / "key.json", token_server.url)),
    )
    download = server.ask("/download", archive_url=build.url)
    eventually(lambda: "what gives tokens for the archive refused the connection" in server.log)
    view = server.get(f"/api/v1/builds/{build.path}").json()
    assert {one["trouble"].partition(" after: ")[2] for one in view["artifacts"]} == {
        "what gives tokens for the archive refused the connection"
    }
    token_server.come()
    check_success(download.result(30))
    check_success(server.wait_for_status(build.url))
    build.check_staged(server.static_dir)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: as_json({"error": "internal_failure"}, 500),
        lambda _: as_json({"error": "temporarily_unavailable"}, 400),
        lambda _: (429, {"Content-Type": "application/json"}, b"{}"),
        lambda _: (502, {"Content-Type": "text/html"}, b"<html><body>Bad gateway</body></html>"),
    ],
    ids=["500", "temporarily", "429", "502"],
)
def test_what_may_pass_of_the_credentials_is_no_refusal(
    private: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], object]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # Google's client pauses for seconds
    with HttpServer(answer) as server:  # type: ignore[arg-type]
        use(monkeypatch, write_service_account(tmp_path / "key.json", server.url))
        with pytest.raises(ArchiveUnavailable, match="what gives tokens for the archive answered"):
            opened().list()


def test_a_key_that_is_none_any_more_says_why(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_server.answer = invalid_grant
    use(monkeypatch, write_service_account(tmp_path / "key.json", token_server.url))
    with pytest.raises(AccessDenied, match=r"invalid_grant: Invalid JWT Signature\."):
        opened().list()


def test_a_key_file_is_read_anew_when_it_is_another_one(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.json"
    use(monkeypatch, write_service_account(path, token_server.url))
    assert read_all() == b"some content"
    private.token = "second"
    with HttpServer(tokens("second")) as other:
        token_server.answer = invalid_grant
        write_service_account(tmp_path / "new.json", other.url, private_key_id="2").replace(path)
        assert read_all() == b"some content"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"[]", "holds no credentials"), (b"{", "not a valid json file"), (None, "cannot be read"), (b"{}", "valid type")],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_a_file_of_credentials_that_cannot_be_used_is_told_at_once(
    private: FakeArchive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    why: str,
    is_named: bool,
) -> None:
    path = tmp_path / "gcloud" / "application_default_credentials.json"
    path.parent.mkdir()
    path.write_bytes(content or b"")
    if is_named:
        use(monkeypatch, path)
    if content is None:
        monkeypatch.setattr("google.auth.default", _forbidden)
    with pytest.raises(AccessDenied, match=f"the devserver's credentials cannot be used: .*{why}") as told:
        opened().list()
    assert str(tmp_path) not in str(told.value)


def _forbidden(**_: object) -> None:
    raise PermissionError(13, "Permission denied", "/etc/secret/key.json")


def test_a_metadata_server_that_was_away_makes_nobody_anonymous_for_good(
    private: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.compute_engine import _metadata

    with HttpServer(machine(account=True, token=TOKEN)) as metadata:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", metadata.host)
        monkeypatch.setenv("GCE_METADATA_IP", metadata.host)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        metadata.go()
        with pytest.raises(AccessDenied, match="asks for credentials, and this devserver has none"):
            opened().list()
        metadata.come()
        monkeypatch.setattr(gcs_client, "_LOOK_AGAIN", 0.0)
        assert read_all() == b"some content"


def test_a_machine_without_a_service_account_reads_what_is_public(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.compute_engine import _metadata

    archive.put("bucket", "target/version/file", b"some content")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", archive.url)
    with HttpServer(machine(account=False)) as metadata:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", metadata.host)
        monkeypatch.setenv("GCE_METADATA_IP", metadata.host)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        assert read_all() == b"some content"


def test_no_netrc_file_takes_the_place_of_the_token(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login anonymous password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    use(monkeypatch, write_service_account(tmp_path / "key.json", token_server.url))
    assert read_all() == b"some content"


def test_credentials_of_another_universe_are_used_there(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        monkeypatch,
        write_service_account(tmp_path / "key.json", token_server.url, universe_domain="example-cloud.test"),
    )
    monkeypatch.delenv("API_ENDPOINT_OVERRIDE")
    assert gcs_client.current_client().base == "https://storage.example-cloud.test"


@pytest.mark.parametrize("spelling", ["{host}", "{host}/", "http://{host}/"])
def test_an_emulator_may_be_named_in_any_spelling(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    archive.put("bucket", "target/version/file", b"some content")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", spelling.format(host=archive.url.removeprefix("http://")))
    assert read_all() == b"some content"


def test_an_address_that_is_none_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "ftp://archive")
    with pytest.raises(ArchiveRefused, match="the address of the archive"):
        opened().list()


def test_a_certificate_that_is_not_trusted_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with HttpServer(lambda _: as_json({}), context) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"https://{server.host}")
        with pytest.raises(ArchiveRefused, match=r"certificate of the archive is not trusted: self.signed .*CA_BUNDLE"):
            opened().list()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
        with pytest.raises(ArchiveRefused, match="the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names is not"):
            opened().list()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody else has signed, and its key."""
    chain, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(chain)], capture_output=True, check=True)
    return chain, key


def test_the_project_that_pays_goes_along_where_a_bucket_wants_it(
    archive: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    for bucket in ("bucket", "paid"):
        archive.put(bucket, "target/version/file", b"some content")
    archive.payers["paid"] = "lab"
    for bucket in ("bucket", "paid"):
        paid = open_archive(ArchiveUrl.parse(f"gs://{bucket}/target/version"), 2, "lab")
        item = paid.describe("file")
        assert b"".join(paid.read(item, 0, item.size)) == b"some content"
    assert [query.get("userProject", "") for query in archive.queries] == ["", "", "", "lab", "lab"]


def test_a_bucket_whose_readers_pay_says_so(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", archive.url)
    archive.payers["bucket"] = "lab"
    with pytest.raises(ArchiveRefused, match=r"Bucket is a requester pays bucket but no user .*--user-project names"):
        opened().list()


def test_a_client_certificate_is_shown_by_the_connections_that_have_it(
    private: FakeArchive, token_server: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.transport import _mtls_helper
    from google.auth.transport import requests as transport

    chain, key = certificate(tmp_path)
    found = (True, chain.read_bytes(), key.read_bytes())
    monkeypatch.setattr(_mtls_helper, "check_use_client_cert", lambda: True)
    monkeypatch.setattr(_mtls_helper, "get_client_cert_and_key", lambda *_: found)
    use(monkeypatch, write_service_account(tmp_path / "account.json", token_server.url))
    session = gcs_client.current_client().client._http
    assert isinstance(session.get_adapter("https://storage.mtls.googleapis.com"), transport._MutualTlsAdapter)


def test_a_background_job_may_read_what_kubernetes_puts_in_a_tokens_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "volume"
    (volume / "..2026_1").mkdir(parents=True)
    write_service_account(volume / "..2026_1" / "key.json", "http://127.0.0.1:7")
    os.symlink("..2026_1", volume / "..data")  # noqa: PTH211
    os.symlink("..data/key.json", volume / "key.json")  # noqa: PTH211
    use(monkeypatch, volume / "key.json")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", "http://127.0.0.1:1234")
    assert set(reach.credentials()) == {str(volume / "key.json"), str(volume)}
    assert {7, 1234} <= reach.archive_ports()


def test_a_private_build_is_staged_by_workers_too(
    start_server: StartServer, private: FakeArchive, token_server: HttpServer, tmp_path: Path
) -> None:
    build: Build = make_build().upload(private)
    server = start_server(
        "--no-stage-inline",
        STORAGE_EMULATOR_HOST="",
        API_ENDPOINT_OVERRIDE=private.url,
        GOOGLE_APPLICATION_CREDENTIALS=str(write_service_account(tmp_path / "key.json", token_server.url)),
    )
    server.stage(build.url)
    build.check_staged(server.static_dir)
    assert cause_of(server.download(build.url.replace("b1346", "b9999"))).startswith("ObjectNotFound")
