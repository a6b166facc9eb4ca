"""What a search begins with: files that real tools made, and texts as clients and servers write them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

_LOCK = "sha256:" + "0" * 64
_MANIFEST = (
    b'{"format": 1, "archive_url": "gs://bucket/target/version", "artifacts": {"full_payload": {"state": "staged",'
    b' "objects": [{"name": "a.bin", "size": 3, "crc32c": "AAAAAA==", "generation": "1"}], "staged_at": 1.5,'
    b' "files": 1, "size": 3, "whole_files": {"a.bin": "a.bin"}}, "other": {"state": "absent"}}}'
)
_EVENT = (
    b'["event", {"build": "target/version", "artifact": "a", "state": "failed", "bytes_done": 1, "note": "a note",'
    b' "retry": "ArchiveUnavailable", "cause": {"kind": "BadTarball", "args": ["x", "y"]}}]'
)
_BULLETIN = (
    b'{"download": "ab", "devserver": "cd", "archive_url": "gs://b/t/v", "build": "t/v", "request_id": "",'
    b' "synchronous": {"a": true}, "has_begun": true,'
    b' "events": [{"build": "t/v", "artifact": "a", "state": "staged"}]}'
)
_JOB = (
    b'{"archive_url": "gs://b/t/v", "artifacts": [{"entry": {"name": "a", "pattern": "a.tar", "unpack": true,'
    b' "brings": [], "includes": ["x"], "destination": "d"}, "objects": [{"name": "a.tar", "size": 1,'
    b' "crc32c": "", "generation": "1"}]}], "attempt": 1,'
    b' "options": {"static_dir": "/s", "peers": {"urls": [], "token_file": "/t"}}}'
)
TEXTS: dict[str, Sequence[bytes]] = {
    "manifest": [_MANIFEST, b"{}", b"[[[[]]]]"],
    "order": [
        b'{"archive_url": "gs://bucket/target/version", "build_path": "target/version", "artifacts": ["a", "b"]}',
        b'{"format": 1, "build_path": "..%2F..", "artifacts": ["/etc"]}',
    ],
    "file_list": [
        b'{"a/b.bin": [3, 1.5, "AAAAAA=="], "c": [0, 0]}',
        b'{"format": 2, "files": {"..%2Fx": [1, 2]}}',
    ],
    "holds": [
        b'{"pinned": true, "leases": [{"id": "1", "holder": "lab", "until": 1e9}]}',
        b'{"format": 1, "leases": []}',
    ],
    "catalogue": [
        b'[[artifact]]\nname = "a"\npattern = "a_{b}_*.bin"\nrequired = true\nunpack = false\n',
        b"[artifact]",
    ],
    "tokens": [f"lab stage,read {_LOCK}\n# more\nother admin {_LOCK}\r\n".encode()],
    "status": [
        _EVENT,
        b'["failed", {"kind": "ArchiveUnavailable", "args": ["gs://b/x", "no", 1.5]}]',
        b'["failed", {"kind": "NoRoom", "args": ["x", "y", ["z"]]}]',
        b'["alive", null]',
    ],
    "bulletin": [_BULLETIN, b"{}"],
    "job": [_JOB, b"{}"],
    "url": [b"\0gs://bucket/target/version", b"\1file:///srv/archive/a/b", b"\0gs://b/%2e%2e/a", b"\1gs://b/a%00"],
    "ranges": [b"\x10\0bytes=0-3,5-,-2", b"\0\0bytes=0-", b"\xff\xffbytes=1-1, 2-2"],
    "cookies": [b'a=b; c="d\\012e"; $Path=/; token=x', b"a[]=1; =; ;;"],
    "request": [
        b"GET /static/a%20b?c=d HTTP/1.1\r\nHost: a\r\nCookie: b\r\n\r\n",
        b"POST http://a/download HTTP/1.0\r\nContent-Length: 3\r\nX_Y: z\r\n\r\n",
    ],
    "host": [b"*.lab.example", b"devserver.lab", b"\xc3\xa4.example", b"::1"],
    "multipart": [
        b'x\n--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
        b'y\n--y\r\nContent-Disposition: form-data; name="f"\r\nContent-Type: a/b; charset=nope\r\n\r\nb\r\n--y--\r\n',
    ],
    "pattern": [
        b"a*b?c\nabbxc",
        b"chromeos_{a}_{a}_*_delta\nchromeos_1_1_x_delta",
        b"*a*a*a*b\naaaaaaaaaaaaa",
        b"[a]{b\n[a]{b",
    ],
    "use_log": [
        b'127.0.0.1 200 512 1700000000.123 "GET /static/target/version/a.bin HTTP/1.1"',
        b"200 512 1700000000.123 127.0.0.1 /static/target/version/a%0a.bin",
    ],
}


def make(directory: Path) -> None:
    """Write what each target begins with into a directory of its name, below ``directory``."""
    for target, texts in TEXTS.items():
        for number, text in enumerate(texts):
            _place(directory, target, str(number)).write_bytes(text)
    tree = directory / "tree"
    _make_tree(tree)
    for target, name, command in _packings():
        _run(command(_place(directory, target, name)), tree)


def _make_tree(tree: Path) -> None:
    """Files, a deep directory, links of both kinds, a name that is long and one that is not ASCII."""
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "a").write_bytes(b"a")
    (tree / "d" / ("n" * 120)).write_bytes(b"")
    (tree / "d" / "e" / "\u00e4").write_bytes(bytes(600))
    (tree / "link").symlink_to("d/e")
    (tree / "hard").hardlink_to(tree / "a")


def _packings() -> list[tuple[str, str, Callable[[Path], list[str]]]]:
    """Targets, names, and what packs the tree into a file."""

    def gnu(form: str, *options: str) -> Callable[[Path], list[str]]:
        return lambda path: ["tar", f"--format={form}", *options, "--create", f"--file={path}", "."]

    def bsd(form: str) -> Callable[[Path], list[str]]:
        return lambda path: ["bsdtar", f"--format={form}", "-cf", str(path), "."]

    return [
        *(("tar", f"gnu-{form}", gnu(form)) for form in ("v7", "ustar", "gnu", "oldgnu", "pax")),
        ("tar", "gnu-sparse", gnu("pax", "--sparse")),
        *(("tar", f"bsd-{form}", bsd(form)) for form in ("pax", "ustar", "gnutar")),
        ("gzip_tar", "gnu", gnu("gnu", "--gzip")),
        ("gzip_tar", "pax", gnu("pax", "--gzip")),
        ("zstd_tar", "gnu", gnu("gnu", "--zstd")),
        ("zip_file", "info-zip.zip", lambda path: ["zip", "--quiet", "--symlinks", "--recurse-paths", str(path), "."]),
        ("zip_file", "stored.zip", lambda path: ["zip", "--quiet", "-0", "--recurse-paths", str(path), "a", "d"]),
        ("zip_file", "7z.zip", lambda path: ["7z", "a", "-bso0", "-bsp0", "-tzip", str(path), "."]),
        ("zip_file", "bsd.zip", bsd("zip")),
    ]


def _place(directory: Path, target: str, name: str) -> Path:
    place = directory / target
    place.mkdir(exist_ok=True)
    return place / name


def _run(command: list[str], tree: Path) -> None:
    subprocess.run(command, cwd=tree, check=False, capture_output=True)  # v7 has no room for the long name
