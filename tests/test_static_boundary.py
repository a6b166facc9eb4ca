"""/static ends at its directory, however an address is spelt."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

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
def test_no_spelling_leads_out(server: DevServer, method: str, spelling: str) -> None:
    target = spelling.format(root=str(server.static_dir).lstrip("/"))
    status, answer = asked(server, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert status in (400, 403, 404)
    assert SECRET not in answer
    assert b"root:" not in answer


def test_what_lies_inside_is_served(server: DevServer) -> None:
    status, answer = asked(server, b"GET /static/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status == 200
    assert answer.endswith(b"what everybody may")


def asked(server: DevServer, request: bytes) -> tuple[int, bytes]:
    """The status of the answer, and all of it: the request goes out as it stands, which no HTTP client would do."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return int(answer.split()[1]), answer


def test_a_list_says_nothing_of_what_links_lead_out_to(server: DevServer) -> None:
    for accept in ("text/html", "application/json"):
        listed = server.get("/static/").text if accept == "text/html" else listing(server)
        assert "file" in listed
        assert "linked" not in listed
        assert "relative" not in listed


def listing(server: DevServer) -> str:
    """The list of the static directory as programs get it."""
    request = b"GET /static/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    return asked(server, request)[1].decode()
