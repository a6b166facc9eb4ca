"""A campaign of hostile requests against one server: each has its status, none gets anywhere, and the server lives on.

``test_contract.py`` has what is asked in good faith, ``test_static_boundary.py`` the spellings of a path out of
``/static``, ``test_extraction.py`` the tarballs by themselves, and ``test_bounds.py`` what is too large or too slow.
"""

from __future__ import annotations

import bz2
import io
import json
import os
import re
import socket
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psutil
import pytest

from staging.errors import error_classes
from tests.builds import BUCKET, FULL_PAYLOAD, Build, make_build
from tests.fake_archive import FakeArchive
from tests.servers import FRONT, PROJECT, DevServer, eventually
from web.access.tokens import SCOPES, Token

GOOD = Build()
OF_THE_WIRE = [
    "BadRequest",
    "BodyTooLarge",
    "Forbidden",
    "LengthRequired",
    "MethodNotAllowed",
    "NotFound",
    "NotImplemented",
]
KINDS = {*error_classes(), *OF_THE_WIRE, "NotImplemented", "RangeNotSatisfiable"}
SECRET, READER_SECRET = f"devserver_{'s' * 43}", f"devserver_{'r' * 43}"
TOKEN = Token("all", frozenset(SCOPES), sha256(SECRET.encode()).hexdigest())
READER = Token("reader", frozenset({"read"}), sha256(READER_SECRET.encode()).hexdigest())
BEARER = f"Authorization: Bearer {SECRET}"


class Lab(NamedTuple):
    """The server, and how it was before anybody attacked it."""

    server: DevServer
    directory: Path
    outside: dict[str, int]
    threads: int
    files: int


class Attack(NamedTuple):
    """One request as it goes over the wire, and the status that it should have."""

    status: int
    target: str
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: bytes = b""

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{self.method} {self.target} {self.headers} {self.body[:60]!r}"[:150].encode("unicode_escape").decode()


def outside(directory: Path) -> dict[str, int]:
    """The files of the directory but for the static directory's and the log, with when each changed."""
    found = [path for path in directory.rglob("*") if "static" not in path.relative_to(directory).parts[:1]]
    return {str(path): path.lstat().st_mtime_ns for path in found if path.is_file() and path.suffix != ".log"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("hostile")
    root = directory / "root"
    (root / "target" / "version").mkdir(parents=True)
    (directory / "secret").write_text("what nobody may read")
    tokens = directory / "tokens"
    tokens.write_text(f"{TOKEN.line}\n{READER.line}\n")
    tokens.chmod(0o600)
    with FakeArchive() as archive:
        make_build().upload(archive)
        for name, content in TARBALLS.items():
            archive.put(BUCKET, f"hostile/{name}/test_suites.tar.bz2", content)
        options = ["--tokens", str(tokens), "--archive-root", str(root)]
        options += ["--allow-archive", f"gs://{BUCKET}", "--allow-archive", f"file://{root}"]
        server = DevServer(directory, *options, environment={"STORAGE_EMULATOR_HOST": archive.url})
        assert answered(server, Attack(200, f"/download?archive_url={GOOD.url}", headers=(BEARER,)))[0] == 200
        assert answered(server, Attack(200, f"/wait_for_status?archive_url={GOOD.url}"))[0] == 200
        process = psutil.Process(server.process.pid)
        yield Lab(server, directory, outside(directory), process.num_threads(), process.num_fds())
        server.close()


def behind(front: str, attack: Attack) -> set[int]:
    """The statuses that are right where nginx stands before the server: what it cannot read, it refuses by itself."""
    if not front or front == "devserver":
        return {attack.status}
    head = " ".join((attack.method, *attack.headers)).encode("utf-8", "surrogateescape")
    is_odd_path = re.search(r"(?i)%00|%(?![0-9a-f]{2})|\.\.(%2f|/)", attack.target)
    is_odd_head = b"\0" in head or re.search(rb"(?i)host: ?([^a-z0-9\x80-\xff]|$)", head)
    also = {400} if is_odd_path or is_odd_head else set()
    if "X" in attack.headers:  # which is one without a value
        also.add(200)
    if "Transfer-Encoding: chunked, chunked" in attack.headers:
        also.add(501)
    return {attack.status, *also}


def answered(server: DevServer, attack: Attack) -> tuple[int, str]:
    """The status and all of the answer."""
    return answered_at(server.port, attack)


def answered_at(port: int, attack: Attack) -> tuple[int, str]:
    """The same of whatever listens on ``port``."""
    lines = [f"{attack.method} {attack.target} HTTP/1.1", "Connection: close", *attack.headers]
    if not any(line.lower().startswith("host:") for line in lines):
        lines.append("Host: localhost")
    if attack.body and not any(line.lower().startswith(("content-length", "transfer-enc")) for line in lines):
        lines.append(f"Content-Length: {len(attack.body)}")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + attack.body)
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode("utf-8", "replace")
    match = re.match(r"HTTP/1\.1 (\d{3}) ", answer)
    assert match, answer
    return int(match[1]), answer


def encoded(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


# What may stand in a URL's place.

NO_URLS = (
    "gs://",
    "gs:///target/version",
    "gs:/bucket/target/version",
    "//bucket/target/version",
    "bucket/target/version",
    "GS://bucket/target/version",
    "http://bucket/target/version",
    "https://169.254.169.254/computeMetadata/v1/instance",
    "ftp://bucket/target/version",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "gs://bucket/target/..",
    "gs://bucket/../target/version",
    "gs://bucket/target/./version",
    "gs://bucket/target/version/../../../../etc",
    "gs://../target/version",
    "gs://./target/version",
    "gs://bucket/.devserver/version",
    "gs://bucket/target/.devserver",
    "gs://bucket/target/version/.devserver/manifest.json",
    "gs://-bucket/target/version",
    "gs://_/target/version",
    "gs://user@bucket/target/version",
    "gs://bucket:80/target/version",
    "gs://bu cket/target/version",
    "gs://b\u00fccket/target/version",
    "gs://%2e%2e/target/version",
    "gs://bucket\\target\\version",
    "gs://bucket/target\\..\\..\\version/x",
    "gs://bucket/target/version?generation=1",
    "gs://bucket/target/version#part",
    "gs://bucket/tar\0get/version",
    "gs://bucket/tar\nget/version",
    "gs://bucket/tar\r\nSet-Cookie: devserver-token=x/version",
    "gs://bucket/tar\x1b[31mget/version",
    "gs://bucket/tar\x7fget/version",
    "gs://bucket/tar\u2028get/version",
    f"gs://bucket/{'a' * 256}/version",
    f"gs://bucket/{'a/' * 520}version",
    f"gs://bucket/{chr(0x1F4A3) * 64}/version",
    "file:///",
    "file:///etc/passwd",
    "file:///etc/../etc/passwd",
    "file:///proc/self/root/etc",
    "file:///proc/self/environ",
    "file://evil/etc/passwd",
    "file:target/version",
    "file://localhost.evil/etc/passwd",
    "file:///root/target/version",
)
TOO_SHORT = ("gs://bucket", "gs://bucket/", "gs://bucket/target", "gs://bucket//target//")
NOT_ALLOWED = ("gs://bucket/target/version", f"gs://{BUCKET}x/target/version", "gs://chromeos/image-archive/x")
QUERIES = (
    "/download?archive_url={}",
    "/wait_for_status?archive_url={}",
    "/stage?archive_url={}&artifacts=stateful",
    "/is_staged?archive_url={}&artifacts=stateful",
    "/list_image_dir?archive_url={}",
    "/locate_file?archive_url={}&file_name=x",
)


def posted(status: int, body: object, *headers: str) -> Attack:
    """A wish for the JSON API."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Attack(status, "/api/v1/builds", "POST", (BEARER, *headers), content)


URLS = [
    *(Attack(400, query.format(encoded(url)), headers=(BEARER,)) for url in NO_URLS for query in QUERIES),
    *(Attack(400, query.format(encoded(url)), headers=(BEARER,)) for url in TOO_SHORT for query in QUERIES[:2]),
    *(Attack(400, QUERIES[number].format(url), headers=(BEARER,)) for url in NOT_ALLOWED for number in (0, 2)),
    *(posted(400, {"archive_url": url}) for url in (*NO_URLS, *TOO_SHORT)),
    *(posted(403, {"archive_url": url}) for url in NOT_ALLOWED),
    *(Attack(400, f"/stage?local_path={path}&files=x", headers=(BEARER,)) for path in ("/etc", "/proc/self", "..")),
    Attack(400, "/stage?local_path={root}/../&files=secret", headers=(BEARER,)),
    Attack(400, "/stage?local_path={root}x/target/version&files=x", headers=(BEARER,)),
    Attack(400, "/stage?local_path={static}/target/version&files=x", headers=(BEARER,)),
    *(
        Attack(400, f"/xbuddy_translate/remote/x/latest-official?image_dir={url}")
        for url in ("file:///etc", "http://x")
    ),
    *(Attack(400, f"/xbuddy_translate/remote/x/latest-official?image_dir={encoded(url)}") for url in ("gs://o", "\0")),
    Attack(500, "/xbuddy_translate/remote/../latest-official"),
    Attack(400, "/xbuddy_translate/remote/..%2f..%2fx/latest-official"),
    Attack(400, "/xbuddy_translate/remote/x%00y/latest-official"),
]

# The other parameters.

STAGE = f"/stage?archive_url={GOOD.url}"
PARAMETERS = [
    *(
        Attack(400, f"{STAGE}&files={encoded(name)}", headers=(BEARER,))
        for name in (
            "../x",
            "/etc/passwd",
            "a/../../x",
            ".devserver/manifest.json",
            "a\0b",
            "a\nb",
            "\x1b[0m",
            "./x",
            "..",
        )
    ),
    *(
        Attack(500, f"{STAGE}&artifacts={encoded(name)}", headers=(BEARER,))
        for name in ("../x", "__class__", "<script>", "a\0b", "\u202e", "*", "x" * 5000, "file:x")
    ),
    *(
        Attack(400, f"/latestbuild?target={encoded(name)}")
        for name in ("..", "../x", "a/../..", ".devserver", "a\0", "/", "//")
    ),
    *(
        Attack(500, f"/latestbuild?target={encoded(name)}")
        for name in ("x" * 300, "a" * 5000, "\u202ex", "<b>", "~root")
    ),
    *(
        Attack(400, f"/latestbuild?target=x&milestone={encoded(text)}")
        for text in ("-1", "R", "1e9", "\u0661", "9" * 40)
    ),
    *(
        Attack(400, f"/{rpc}?build={encoded(build)}")
        for rpc in ("controlfiles", "list_suite_controls")
        for build in ("..", "../static", "a/../../x", ".devserver/locks", "a\0b", "/../x")
    ),
    *(
        Attack(400, f"/controlfiles?build={GOOD.path}&control_path={encoded(path)}")
        for path in ("../../secret", "..", "a/../../x", "test_suites/../../../secret", "a\0b")
    ),
    *(
        Attack(200, f"/controlfiles?build={GOOD.path}&control_path={encoded(path)}")
        for path in ("x" * 300, "test_suites", "~", "%2e%2e/secret", "\u2028")
    ),
    *(
        Attack(500, f"/locate_file?archive_url={GOOD.url}&file_name={encoded(name)}")
        for name in ("../secret", "/etc/passwd", "a\0b", "*", "x" * 5000)
    ),
    *(Attack(400, f"/wait_for_status?archive_url={GOOD.url}&timeout={text}") for text in ("-1", "nan", "1e999", "inf")),
    *(Attack(400, f"{query.format(GOOD.url)}&archive_url={GOOD.url}", headers=(BEARER,)) for query in QUERIES),
    Attack(400, f"{STAGE}&artifacts=stateful&delete_source=true", headers=(BEARER,)),
    Attack(400, f"/stage?archive_url={GOOD.url}&local_path=/x&artifacts=stateful", headers=(BEARER,)),
    Attack(400, "/download?archive_url=%ff%fe", headers=(BEARER,)),
    Attack(400, "/download?" + "&".join(f"p{number}=1" for number in range(200)), headers=(BEARER,)),
    Attack(404, "/__class__"),
    Attack(404, "/_downloader"),
    Attack(404, "/_cp_config"),
    Attack(404, "/index/__init__"),
    Attack(404, "/__class__/download"),
    Attack(404, "/--class--"),
    Attack(404, "/index/__self__/check_health"),
    Attack(404, "/builds/__func__/x"),
    Attack(404, "/builds/__self__/_downloader/stop"),
    Attack(404, "/download/__wrapped__"),
    Attack(404, "/doc/__init__"),
    Attack(404, "/doc/..%2f..%2fetc"),
    Attack(404, "/builds/..%2f..%2fetc"),
    Attack(404, "/builds/%00"),
    Attack(404, "/builds/<script>alert(1)</script>"),
    Attack(404, "/assets/..%2f..%2fdevserver.py"),
    Attack(404, "/assets/../templates/base.html"),
    Attack(404, "/assets/%00"),
]

# The JSON API.

NO_STRINGS: tuple[object, ...] = (None, 1, True, [], {}, [GOOD.url], "")
NO_LISTS: tuple[object, ...] = ("stateful", [1], [None], {}, [["x"]], True)
API = [
    *(
        posted(400, body)
        for body in (b"", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b"\xff\xfe", b"[" * 100_000, b"NaN")
    ),
    *(posted(400, {"archive_url": value}) for value in NO_STRINGS),
    *(posted(400, {"archive_url": GOOD.url, "artifacts": value}) for value in NO_LISTS),
    *(
        posted(400, {"archive_url": GOOD.url, "artifacts": [name]})
        for name in ("../x", "__class__", "a\0b", "x" * 5000)
    ),
    *(
        posted(400, {"archive_url": GOOD.url, "files": [name]})
        for name in ("../x", "/etc/passwd", "a\0b", "\ud800", "")
    ),
    *(posted(400, {"archive_url": GOOD.url, name: 1}) for name in ("__proto__", "constructor", "clean", "")),
    posted(400, {"archive_url": GOOD.url, "files": ["x"] * 501}),
    posted(400, json.dumps({"archive_url": GOOD.url}).encode("utf-16")[:11]),
    posted(413, b" " * 300_000),
    *(
        Attack(400, f"/api/v1/builds?limit={text}")
        for text in ("0", "-1", "1e3", "1001", "\u0661".encode().hex(), "9" * 999)
    ),
    *(Attack(400, f"/api/v1/builds?state={encoded(text)}") for text in ("x", "STAGED", "staged\0", "__class__")),
    Attack(400, "/api/v1/builds?state=staged&state=failed"),
    Attack(200, "/api/v1/builds?prefix=../"),
    Attack(200, "/api/v1/builds?after=%00"),
    *(
        Attack(404, f"/api/v1/builds/{path}{action}", method, (BEARER,))
        for path in ("..%2f..%2fetc", "%2e%2e", ".devserver", "a%00b", "a%0ab", "x" * 300, "a//b", "%ff", "..")
        for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"))
        if (path, action) != ("..", "/cancel")
    ),
    *(Attack(404, f"/api/v1/{path}", headers=(BEARER,)) for path in ("", "nothing", "..", "../../etc", "__class__")),
    *(Attack(405, "/api/v1/builds", method, (BEARER,)) for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")),
    Attack(404, "/api/v1/builds/nobody/events", headers=("Last-Event-ID: " + "9" * 5000,)),
]

# What comes around the request: methods, headers, tokens.

AROUND = [
    *(
        Attack(status, "/check_health", method)
        for method, status in {
            "POST": 411,
            "PUT": 411,
            "DELETE": 405,
            "TRACE": 405,
            "PROPFIND": 405,
            "X" * 300: 405,
        }.items()
    ),
    *(Attack(405, f"/download?archive_url={GOOD.url}", method) for method in ("HEAD", "DELETE", "TRACE", "OPTIONS")),
    *(Attack(405, "/static/", method) for method in ("POST", "PUT", "DELETE", "MKCOL", "COPY", "PROPFIND")),
    Attack(400, "/check_health", "get"),
    Attack(400, "/check_health", "G\0T"),
    Attack(400, "check_health"),
    Attack(400, "/check_health#part"),
    Attack(400, "/check health"),
    Attack(404, "/static/%"),
    Attack(404, "/static/%zz"),
    *(
        Attack(400, "/check_health", headers=(line,))
        for line in ("X", ": x", "X : 1", "X\0: 1", "X: a\0b", "X\u00fc: 1")
    ),
    *(
        Attack(400, "/check_health", headers=(f"Content-Length: {text}",))
        for text in ("-1", "+1", "1_0", "0x1", "1,1", "")
    ),
    Attack(400, "/check_health", headers=("Content-Length: 1", "Content-Length: 1"), body=b"x"),
    Attack(400, "/check_health", headers=("Transfer-Encoding: chunked", "Content-Length: 1"), body=b"x"),
    *(
        Attack(status, "/check_health", headers=(f"Transfer-Encoding: {text}",))
        for status, text in ((501, "gzip"), (501, "gzip, chunked"), (400, "chunked, chunked"), (501, "\tx"))
    ),
    Attack(100, "/check_health", headers=("Expect: 100-continue",)),
    *(
        Attack(200, "/", headers=(f"Host: {host}",))
        for host in ('"><script>alert(1)</script>', "", "a" * 5000, "\u00fc")
    ),
    Attack(200, f"/builds/{GOOD.path}", headers=('Host: "><script>alert(1)</script>',)),
    *(Attack(200, "/", headers=(f"Accept: {text}",)) for text in (",,,;;;", "text/html;q=NaN", "*" * 5000)),
    *(
        Attack(status, "/", headers=(f"Cookie: {text}",))
        for status, text in ((200, "devserver-form=x"), (200, "=;=;="))
    ),
    *(
        Attack(status, f"/static/{GOOD.path}/update.gz", "HEAD", (f"Range: {text}",))
        for status, text in (
            (416, "bytes=-0"),
            (416, "bytes=9999999999-"),
            (416, f"bytes={'9' * 200}-"),
            (416, "bytes=1-0"),
            (416, "bytes=a-b"),
            (416, "bytes=\u0661-"),
            (200, "lines=1-2"),
            (200, "bytes="),
            (200, "bytes=" + "0-," * 600),
            (200, "bytes=" + ",".join(["0-"] * 100)),
        )
    ),
    *(
        Attack(200, f"/static/{GOOD.path}/update.gz", "HEAD", (f"{name}: {text}",))
        for name in ("If-Modified-Since", "If-Range")
        for text in ("yesterday", "Thu, 99 Foo 99999 99:99:99 GMT", "9" * 500, '"' * 50)
    ),
    *(
        Attack(401, f"/download?archive_url={GOOD.url}", headers=(line,))
        for line in (
            "X: none",
            "Authorization: Bearer",
            "Authorization: Bearer devserver_x",
            f"Authorization: Bearer {SECRET}x",
            f"Authorization: Bearer {SECRET[:-1]}",
            f"Authorization: Basic {SECRET}",
            f"Authorization: {SECRET}",
            f"Authorization: Bearer {TOKEN.digest}",
            f"Authorization: Bearer {'x' * 8000}",
            "Authorization: Bearer \u00fc\u2028",
            "Cookie: devserver-token=x",
            f"Cookie: token={SECRET}",
            f"X-Token: {SECRET}",
            f"authorization_: Bearer {SECRET}",
        )
    ),
    Attack(401, f"/download?archive_url={GOOD.url}&token={SECRET}"),
    Attack(400, f"/download?archive_url={GOOD.url}", headers=(BEARER, BEARER)),
    Attack(401, f"/api/v1/builds/{GOOD.path}", "DELETE"),
    Attack(401, f"/api/v1/builds/{GOOD.path}/cancel", "POST"),
    *(
        Attack(403, target, method, (f"Authorization: Bearer {READER_SECRET}",))
        for method, target in (
            ("GET", f"/download?archive_url={GOOD.url}"),
            ("GET", f"{STAGE}&artifacts=stateful&clean=true"),
            ("DELETE", f"/api/v1/builds/{GOOD.path}"),
            ("POST", f"/api/v1/builds/{GOOD.path}/cancel"),
        )
    ),
    *(
        Attack(403, f"/download?archive_url={GOOD.url}", headers=(f"Cookie: devserver-token={SECRET}", *lines))
        for lines in (
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site",),
            ("User-Agent: Mozilla/5.0", "Origin: http://elsewhere"),
            ("User-Agent: Mozilla/5.0", "Origin: null"),
            ("User-Agent: Mozilla/5.0", "Referer: http://elsewhere/?devserver"),
        )
    ),
]


# Tarballs, staged through the front door.


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644, **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.pax_headers = pax
    return info


def members(*infos: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info in infos:
            info.size = 4 if info.type == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil"))
    return bz2.compress(buffer.getvalue())


LINK, HARD, DIR = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
TARBALLS = {
    "up": members(member("autotest/../../../../escaped")),
    "absolute": members(member("/tmp/devserver-escaped")),
    "pax-path": members(member("autotest/harmless", path="../../../../escaped")),
    "pax-absolute": members(member("autotest/harmless", path="/tmp/devserver-escaped")),
    "through-a-link": members(member("autotest/l", LINK, "../.."), member("autotest/l/escaped")),
    "through-two-links": members(
        member("autotest", DIR), member("autotest/a", LINK, "."), member("autotest/a/b", LINK, "../.."), member("b/x")
    ),
    "link-then-file": members(member("autotest/x", LINK, "../../../../../escaped"), member("autotest/x")),
    "link-to-root": members(member("autotest/x", LINK, "/etc/passwd")),
    "link-by-pax": members(member("autotest/x", LINK, "y", linkpath="../../../../secret")),
    "hard-link-out": members(member("autotest/x", HARD, "../../../../secret")),
    "hard-link-absolute": members(member("autotest/x", HARD, "/etc/passwd")),
    "hard-link-to-a-link-out": members(
        member("autotest/a/l", LINK, "../../x"), member("escaped", HARD, "autotest/a/l"), member("autotest/x")
    ),
    "into-the-records": members(member("autotest/.devserver/manifest.json")),
    "the-records": members(member(".devserver/manifest.json")),
    "device": members(member("autotest/null", tarfile.CHRTYPE)),
    "pipe": members(member("autotest/pipe", tarfile.FIFOTYPE)),
    "file-as-directory": members(member("autotest/a"), member("autotest/a/b")),
    "directory-as-link": members(member("autotest/a", DIR), member("autotest/a", LINK, "../..")),
    "dots": members(member("autotest/..")),
    "too-deep": members(member("autotest/" + "d/" * 200 + "x")),
    "too-long": members(member("autotest/" + "n" * 300)),
    "nothing-but-noise": b"BZh9" + bytes(200),
}
STAGED_TARBALLS = [
    Attack(500, f"/stage?archive_url=gs://{BUCKET}/hostile/{name}&artifacts=test_suites", headers=(BEARER,))
    for name in TARBALLS
]
ATTACKS = [*URLS, *PARAMETERS, *API, *AROUND, *STAGED_TARBALLS]


def test_the_campaign_is_a_large_one() -> None:
    assert len({attack.name for attack in ATTACKS}) > 500


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_has_its_status_and_learns_nothing(lab: Lab, attack: Attack) -> None:
    places = {"{root}": str(lab.directory / "root"), "{static}": str(lab.server.static_dir)}
    target = attack.target
    for name, place in places.items():
        target = target.replace(name, place)
    status, answer = answered(lab.server, attack._replace(target=target))
    assert status in behind(os.environ[FRONT], attack), answer[:2000]
    if status >= 400 and attack.method != "HEAD":
        assert any(kind in answer for kind in KINDS), answer
    for place in (str(lab.directory), str(PROJECT), "site-packages"):
        assert place not in answer.replace(target.partition("local_path=")[2].partition("&")[0] or "-", ""), answer
    for tell in (
        "Traceback",
        "what nobody may read",
        "root:x:",
        "<script>alert",
        "\nSet-Cookie: devserver-token",
        SECRET,
    ):
        assert tell not in answer, answer


def test_nothing_was_written_outside(lab: Lab) -> None:
    assert outside(lab.directory) == lab.outside
    assert not Path("/tmp/devserver-escaped").exists()
    served = [path for path in (lab.server.static_dir / "hostile").rglob("*") if ".devserver" not in path.parts]
    assert [path for path in served if path.is_file() and path.read_bytes() == b"evil"] == []


def test_the_server_is_as_it_was(lab: Lab) -> None:
    status, answer = answered(lab.server, Attack(200, f"/static/{GOOD.path}/update.gz"))
    assert (status, f"Content-Length: {len(make_build().objects[FULL_PAYLOAD])}" in answer) == (200, True)
    assert answered(lab.server, Attack(200, f"/wait_for_status?archive_url={GOOD.url}"))[1].endswith("Success")
    assert "Traceback" not in lab.server.log
    process = psutil.Process(lab.server.process.pid)
    eventually(lambda: process.num_threads() <= lab.threads + 10)
    eventually(lambda: process.num_fds() <= lab.files + 10)
