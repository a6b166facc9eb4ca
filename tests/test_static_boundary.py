"""/static ends at its directory, however an address is spelt, with an nginx in front and without."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.nginx import in_front_of
from tests.servers import DevServer

SECRET = b"what nobody outside may read"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A devserver with secrets all around its static directory, and links to them inside."""
    server = DevServer(tmp_path_factory.mktemp("boundary"))
    _ = server.port
    root = server.static_dir
    for folder in (root.parent, root.parent / "static_secret", root / "target" / ".devserver", root / ".devserver"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "secret").write_bytes(SECRET)
    (root / "link").symlink_to(root.parent / "secret")
    (root / "linked").symlink_to(root.parent)
    (root / "relative").symlink_to("../secret")
    (root / "file").write_bytes(b"what everybody may")
    yield server
    server.close()


@pytest.fixture(scope="module", params=["devserver", "nginx in front"])
def port(request: pytest.FixtureRequest, server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where clients ask: the devserver itself, and the nginx in front of it."""
    if request.param == "devserver":
        yield server.port
        return
    with in_front_of(server, tmp_path_factory.mktemp("nginx")) as address:
        yield int(address.rpartition(":")[2])


SPELLINGS = [
    "/static/../secret",
    "/static/./../secret",
    "/static/target/../../secret",
    "/static/%2e%2e/secret",
    "/static/%2E%2E/secret",
    "/static/.%2e/secret",
    "/static/..%2fsecret",
    "/static/%2e%2e%2fsecret",
    "/static/target%2f..%2f..%2fsecret",
    "/static/%252e%252e/secret",
    "/static/%252e%252e%252fsecret",
    "/static/..%252fsecret",
    "/static/%c0%ae%c0%ae/secret",
    "/static/..%c0%afsecret",
    "/static/..\\secret",
    "/static/..%5csecret",
    "/static/%2e%2e%5csecret",
    "/static/....//secret",
    "/static/..;/secret",
    "/static//../secret",
    "/static\x00/../secret",
    "/static/file%00/../../secret",
    "/static/..%00/secret",
    "/static/secret%00",
    "/static/%2f{root}/../secret",
    "/static/{root}/../secret",
    "/static/%2fetc/passwd",
    "/static//etc/passwd",
    "/static/etc/passwd",
    "/static/link",
    "/static/link/",
    "/static/relative",
    "/static/linked",
    "/static/linked/",
    "/static/linked/secret",
    "/static/linked/static_secret/secret",
    "/static/../static_secret/secret",
    "/static_secret/secret",
    "/static%5fsecret/secret",
    "/static/%2e%2e/static_secret/secret",
    "/../secret",
    "http://127.0.0.1/static/../secret",
    "/static/.devserver/secret",
    "/static/%2edevserver/secret",
    "/static/target/.devserver/secret",
    "/static/target/./.devserver/secret",
    "/static/target/x/../.devserver/secret",
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_leads_out(server: DevServer, port: int, method: str, spelling: str) -> None:
    target = spelling.format(root=str(server.static_dir).lstrip("/"))
    status, answer = asked(port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert status in (400, 403, 404)
    assert SECRET not in answer
    assert b"root:" not in answer


def test_what_lies_inside_is_served(port: int) -> None:
    status, answer = asked(port, b"GET /static/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status == 200
    assert answer.endswith(b"what everybody may")


def asked(port: int, request: bytes) -> tuple[int, bytes]:
    """The status of the answer, and all of it: the request goes out as it stands, which no HTTP client would do."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_list_says_nothing_of_what_links_lead_out_to(port: int, accept: str) -> None:
    request = f"GET /static/ HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    status, listed = asked(port, request.encode())
    assert status == 200
    assert b"file" in listed
    assert b"linked" not in listed
    assert b"relative" not in listed
