"""With a certificate, everything is as it is without one, and encrypted."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from tests.builds import Build, make_build
from tests.fake_archive import FakeArchive
from tests.nginx import in_front_of
from tests.servers import PROJECT, DevServer, check_success, eventually
from web.client import Client, ServerUnreachable

# A server whose clients may be silent for two seconds, instead of ten.
QUICK = "import sys, web.http.server as server; server._SILENCE = 2.0; import devserver; devserver.main(sys.argv[3:])"
LATER = (
    "import sys, time, web.http.tls as tls; tls.time = lambda: time.time() + 1e8; "
    "import devserver; devserver.main(sys.argv[3:])"
)
LARGE = 64 * 1024 * 1024


def make_certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A certificate for this machine, which is its own authority, and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key


class Lab:
    """A server that speaks TLS, with a build staged and a large file."""

    def __init__(self, folder: Path, archive: FakeArchive) -> None:
        self.archive, self.build = archive, make_build().upload(archive)
        self.chain, self.key = make_certificate(folder)
        options = ("--tls-cert", str(self.chain), "--tls-key", str(self.key), "--max-threads", "300")
        environment = {"STORAGE_EMULATOR_HOST": archive.url}
        self.server = DevServer(folder, *options, environment=environment, wrapper=(sys.executable, "-c", QUICK))
        self.client = Client(self.server.url, ca=str(self.chain))
        self.client.download(self.build.url)
        self.client.wait_for_status(self.build.url)
        self.large = os.urandom(1024 * 1024) * (LARGE // 1024**2)
        (self.server.static_dir / "large").write_bytes(self.large)

    def get(self, path: str, **headers: str) -> requests.Response:
        """The answer to a GET."""
        return requests.get(self.server.url + path, headers=headers, verify=str(self.chain), timeout=30)

    def connection(self) -> ssl.SSLSocket:
        """A connection on which hands are shaken."""
        context = ssl.create_default_context(cafile=str(self.chain))
        return context.wrap_socket(self.plain(), server_hostname="127.0.0.1")

    def plain(self) -> socket.socket:
        """A connection on which nothing was said yet."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=60)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with FakeArchive() as archive:
        lab = Lab(tmp_path_factory.mktemp("tls"), archive)
        yield lab
        lab.server.close()


def until_its_end(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(1024 * 1024), b""))


def test_files_ranges_and_lists_are_as_without_it(lab: Lab) -> None:
    path = f"/static/{lab.build.path}/update.gz"
    content = lab.build.files["update.gz"]
    assert lab.get(path).content == content
    assert lab.get(path, Range="bytes=1000-1999").content == content[1000:2000]
    several = lab.get(path, Range="bytes=0-9,100-109")
    assert several.status_code == 206
    assert content[100:110] in several.content
    head = requests.head(lab.server.url + path, verify=str(lab.chain), timeout=30)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(content)))
    assert lab.get("/static/large").content == lab.large
    assert lab.build.path in lab.get("/").text
    assert f"curl &#39;{lab.server.url}/download" in lab.get(f"/builds/{lab.build.path}", Accept="text/html").text


def test_one_connection_serves_many_requests(lab: Lab) -> None:
    with lab.connection() as client:
        request = f"GET /static/{lab.build.path}/update.gz HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n\r\n"
        content = lab.build.files["update.gz"]
        # All of them in one record: what is left of it, nobody but OpenSSL knows of.
        client.sendall(b"".join((request % (start, start + 9)).encode() for start in range(0, 1000, 10)))
        answers = b""
        while answers.count(b"HTTP/1.1 206") < 100 or not answers.endswith(content[990:1000]):
            answers += client.recv(65536)
        time.sleep(0.1)  # longer than a thread stays with a client
        client.sendall((request % (0, 9)).encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 206")


def test_a_slow_reader_gets_all_of_a_large_file(lab: Lab) -> None:
    with lab.connection() as client:
        client.sendall(b"GET /static/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 3:  # longer than the server waits for a request's next piece
            assert client.recv(1000)
            time.sleep(0.5)
        rest = until_its_end(client)
    assert rest.endswith(lab.large[-LARGE // 2 :])


def test_the_end_of_an_answer_is_said_and_no_cut(lab: Lab) -> None:
    with lab.connection() as client:
        client.sendall(b"GET /static/ HTTP/1.0\r\n\r\n")
        answer = until_its_end(client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        client.settimeout(5)
        client.unwrap()  # fails where the connection was cut instead


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(lab: Lab, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(lab.chain))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with lab.plain() as client, pytest.raises(ssl.SSLError):
        context.wrap_socket(client, server_hostname="127.0.0.1")


def test_who_never_shakes_hands_keeps_nobody_waiting(lab: Lab) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(lab.plain()) for _ in range(100)]
        for client in clients[:50]:
            client.sendall(b"\x16\x03\x01")  # and no more of it
        began = time.monotonic()
        assert lab.get("/check_health").status_code == 200
        if time.monotonic() - began > 1.5:  # the machine may be busy; nobody waited for a hundred times two seconds
            assert time.monotonic() - began < 20
        for client in clients:
            assert client.recv(100)[:1] in (b"", b"\x15")  # in the end, they are let go of


def test_plain_http_is_told_so(lab: Lab) -> None:
    with lab.plain() as client:
        client.sendall(b"GET /check_health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = until_its_end(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the address begins with https://" in answer


@pytest.mark.parametrize("noise", [b"\x00" * 300, b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello", os.urandom(3000)])
def test_noise_ends_its_own_connection_alone(lab: Lab, noise: bytes) -> None:
    with lab.plain() as client:
        client.sendall(noise)
        client.settimeout(15)
        with suppress(ConnectionResetError):
            until_its_end(client)
    assert lab.get("/check_health").status_code == 200
    assert "Traceback" not in lab.server.log


def test_noise_in_the_middle_ends_it_too(lab: Lab) -> None:
    with lab.connection() as client:
        client.sendall(b"GET /check_health HTTP/1.1\r\n")
        with socket.socket(fileno=os.dup(client.fileno())) as beneath:
            beneath.sendall(b"\x17\x03\x03\x00\x20" + b"n" * 32)
        with pytest.raises(ssl.SSLError):
            until_its_end(client)
    assert "Traceback" not in lab.server.log


def test_waiters_and_streams_are_served_and_let_go(lab: Lab) -> None:
    other = make_build(version="R18-1.0.0").upload(lab.archive)
    with lab.archive.holding("autotest.tar.bz2") as reached:
        lab.client.download(other.url)
        assert reached.wait(20)
        events = lab.client.events(other.path)
        assert next(events).kind == "artifact"
        request = f"GET /wait_for_status?archive_url={other.url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        clients = [lab.connection() for _ in range(20)]
        for client in clients:
            client.sendall(request.encode())
        eventually(lambda: lab.get("/check_health").json()["apache_client_count"] > 20)
        for client in clients[:15]:
            client.close()
        eventually(lambda: lab.get("/check_health").json()["apache_client_count"] < 15)
    for client in clients[15:]:
        with client:
            assert until_its_end(client).endswith(b"Success")
    assert list(events)[-1].data["state"] == "staged"


def test_a_certificate_that_was_renewed_is_used(lab: Lab, tmp_path: Path) -> None:
    def serial() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(lab.plain()) as client:
            return hashlib.sha256(client.getpeercert(binary_form=True) or b"").digest()

    before, old = serial(), (lab.chain.read_bytes(), lab.key.read_bytes())
    chain, key = make_certificate(tmp_path, "renewed")
    lab.chain.write_bytes(chain.read_bytes())
    assert serial() == before  # it does not fit the key yet
    assert "the certificate stays as it was" in lab.server.log
    lab.key.write_bytes(key.read_bytes())
    assert serial() != before
    lab.chain.write_bytes(old[0])
    lab.key.write_bytes(old[1])
    assert serial() == before


def test_clients_trust_whom_they_are_told_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerUnreachable, match="certificate that is not trusted here"):
        Client(lab.server.url).version()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(lab.chain))
    Client(lab.server.url).version()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/dev/null")
    Client(lab.server.url, ca=str(lab.chain)).version()


def test_commands_speak_it(lab: Lab) -> None:
    command = [sys.executable, str(PROJECT / "devserver.py"), "builds", "--server", lab.server.url]
    trusting = subprocess.run([*command, "--ca-file", str(lab.chain)], capture_output=True, text=True, check=False)
    assert (trusting.returncode, lab.build.path in trusting.stdout) == (0, True), trusting.stderr
    doubting = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (doubting.returncode, doubting.stderr.count("\n")) == (3, 1), doubting.stderr


# Starting


def started(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "devserver.py"), "--port", "0", "--static-dir", str(tmp_path / "static")]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)


def test_what_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    chain, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    noise = tmp_path / "noise"
    noise.write_text("no certificate")
    for options, problem in (
        (["--tls-cert", chain], "they go together"),
        (["--tls-key", key], "they go together"),
        (["--tls-cert", chain, "--tls-key", tmp_path / "nowhere"], "cannot be read (No such file"),
        (["--tls-cert", chain, "--tls-key", other], "the key is not the certificate's"),
        (["--tls-cert", noise, "--tls-key", key], f"{noise}, {key}: "),
        (["--tls-cert", chain, "--tls-key", noise], f"{chain}, {noise}: "),
        (["--tls-cert", chain, "--tls-key", key, "--front", "nginx"], "it is nginx that speaks TLS"),
    ):
        ended = started(tmp_path, *map(str, options))
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert problem in ended.stderr


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_expired_certificate_is_a_warning(tmp_path: Path) -> None:
    chain, key = make_certificate(tmp_path)
    years_later = (sys.executable, "-c", LATER)
    server = DevServer(tmp_path, "--tls-cert", str(chain), "--tls-key", str(key), wrapper=years_later)
    try:
        assert requests.get(f"{server.url}/check_health", verify=False, timeout=10).status_code == 200
        assert f"the certificate {chain} has expired" in server.log
    finally:
        server.close()


def test_nginx_in_front_speaks_it(server: DevServer, build: Build, tmp_path: Path) -> None:
    check_success(server.download(build.url))
    chain, key = make_certificate(tmp_path)
    with in_front_of(server, tmp_path / "nginx", "--tls-cert", str(chain), "--tls-key", str(key)) as address:
        url = address.replace("http://", "https://")
        answer = requests.get(f"{url}/static/{build.path}/update.gz", verify=str(chain), timeout=10)
        assert answer.content == build.files["update.gz"]
        assert requests.get(f"{url}/check_health", verify=str(chain), timeout=10).ok
