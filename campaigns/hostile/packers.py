"""What hostile tarballs and zip files are packed by: tar, bsdtar, zip and 7z as shell scripts, or byte by byte."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import zstandard

_MIB = 1024 * 1024


def _header(
    name: bytes, size: bytes = b"00000000004\0", kind: bytes = b"0", link: bytes = b"", magic: bytes = b"ustar\x0000"
) -> bytes:
    """One header of a tarball, with its checksum; each field is as it is given."""
    head = (
        name.ljust(100, b"\0")[:100] + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0")[:12] + b"00000000000\0"
    )
    head += b" " * 8 + kind + link.ljust(100, b"\0")[:100] + magic
    head = head.ljust(512, b"\0")
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def _tar(*members: bytes) -> bytes:
    return b"".join(members) + bytes(1024)


def _file(name: bytes, content: bytes = b"evil", **fields: bytes) -> bytes:
    padding = bytes(-len(content) % 512)
    return _header(name, size=fields.pop("size", b"%011o\0" % len(content)), **fields) + content + padding


def _pax(records: bytes) -> bytes:
    return _file(b"pax", records, kind=b"x")


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    return str(length if len(str(length)) + len(body) == length else length + 1).encode() + body


def _zip(*names: str, content: bytes = b"evil", mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr = name, mode << 16
            packed.writestr(info, content)
    return buffer.getvalue()


def _overlapping() -> bytes:
    """A zip file whose directory names one member a thousand times."""
    whole = _zip("x", content=bytes(_MIB))
    start = whole.rindex(b"PK\1\2")
    end = whole.rindex(b"PK\5\6")
    entries = whole[start:end] * 1000
    tail = whole[end : end + 8] + struct.pack("<HHLL", 1000, 1000, len(entries), start) + bytes(2)
    return whole[:start] + entries + tail


def _bomb(suffix: str) -> bytes:
    """A gibibyte of zeros as one member."""
    size = 1024 * _MIB
    head = _header(b"zeros", size=b"%011o\0" % size)
    if suffix == "tgz":
        return gzip.compress(head + bytes(64 * _MIB)) + gzip.compress(bytes(64 * _MIB)) * 15
    return zstandard.ZstdCompressor().compress(head + bytes(size // 4))


def _many(count: int, kind: bytes = b"0") -> bytes:
    return _tar(*(_header(b"f%d" % number, size=b"0\0", kind=kind) for number in range(count)))


def _nested_links(count: int) -> bytes:
    links = (_header(b"l%d" % number, size=b"0\0", kind=b"2", link=b"l%d" % (number + 1)) for number in range(count))
    return _tar(*links, _file(b"l%d" % count))


BY_HAND: dict[str, tuple[str, bytes]] = {
    "size: negative": ("tar", _tar(_file(b"x", size=b"\xff" * 12))),
    "size: base 256, huge": ("tar", _tar(_file(b"x", size=b"\x80" + b"\x7f" * 11))),
    "size: no number": ("tar", _tar(_file(b"x", size=b"zzzzzzzzzzz\0"))),
    "size: beyond the end": ("tar", _tar(_file(b"x", size=b"77777777777\0"))),
    "checksum: wrong": ("tar", _tar(b"x" + _file(b"x")[1:])),
    "pax: no length": ("tar", _tar(_pax(b"path=x\n"), _file(b"y"))),
    "pax: a length beyond": ("tar", _tar(_pax(b"999 path=x\n"), _file(b"y"))),
    "pax: a length of zero": ("tar", _tar(_pax(b"0 path=x\n" * 3), _file(b"y"))),
    "pax: size": ("tar", _tar(_pax(_record(b"size", b"-1")), _file(b"y"))),
    "pax: size, huge": ("tar", _tar(_pax(_record(b"size", b"9" * 30)), _file(b"y"))),
    "pax: path with NUL": ("tar", _tar(_pax(_record(b"path", b"a\0b")), _file(b"y"))),
    "pax: path with a newline": ("tar", _tar(_pax(_record(b"path", b"a\nb")), _file(b"y"))),
    "pax: path outside": ("tar", _tar(_pax(_record(b"path", b"../" * 9 + b"escaped")), _file(b"y"))),
    "pax: mtime": ("tar", _tar(_pax(_record(b"mtime", b"nan") + _record(b"atime", b"1e999")), _file(b"y"))),
    "pax: sparse, no map": (
        "tar",
        _tar(_pax(_record(b"GNU.sparse.major", b"1") + _record(b"GNU.sparse.minor", b"0")), _file(b"y")),
    ),
    "pax: sparse, a map that lies": (
        "tar",
        _tar(_pax(_record(b"GNU.sparse.size", b"9" * 15) + _record(b"GNU.sparse.map", b"0,9,-5,7")), _file(b"y")),
    ),
    "pax: a thousand headers": ("tar", _tar(*[_pax(_record(b"comment", b"x" * 400))] * 1000, _file(b"y"))),
    "GNU: long name, huge": (
        "tar",
        _tar(_file(b"././@LongLink", b"n" * 70_000, kind=b"L", magic=b"ustar  \0"), _file(b"y")),
    ),
    "GNU: long name, outside": (
        "tar",
        _tar(_file(b"././@LongLink", b"../" * 60 + b"x\0", kind=b"L", magic=b"ustar  \0"), _file(b"y")),
    ),
    "GNU: long link, outside": (
        "tar",
        _tar(
            _file(b"././@LongLink", b"/etc/passwd\0", kind=b"K", magic=b"ustar  \0"),
            _header(b"y", size=b"0\0", kind=b"2"),
        ),
    ),
    "GNU: old sparse, a map that lies": ("tar", _tar(_header(b"x", kind=b"S", magic=b"ustar  \0"))),
    "names: control characters": ("tar", _tar(*(_file(b"a%cb" % number) for number in (1, 7, 10, 13, 27, 127)))),
    "names: not UTF-8": ("tar", _tar(_file(b"\xff\xfe"), _file(b"\xc0\xaf"))),
    "names: none": ("tar", _tar(_file(b""), _file(b"."), _file(b"/"))),
    "names: reserved": ("tar", _tar(_file(b".devserver/x"), _file(b"a/.devserver/y"), _file(b".DEVSERVER"))),
    "names: twice": ("tar", _tar(_file(b"a"), _file(b"a"), _file(b"A"), _header(b"a", size=b"0\0", kind=b"5"))),
    "links: in a circle": (
        "tar",
        _tar(
            _header(b"a", size=b"0\0", kind=b"2", link=b"b"),
            _header(b"b", size=b"0\0", kind=b"2", link=b"a"),
            _file(b"a/x"),
        ),
    ),
    "links: a long chain": ("tar", _nested_links(2000)),
    "links: hard, to itself": ("tar", _tar(_header(b"a", size=b"0\0", kind=b"1", link=b"a"))),
    "links: hard, to what follows": ("tar", _tar(_header(b"a", size=b"0\0", kind=b"1", link=b"b"), _file(b"b"))),
    "types: none that is known": (
        "tar",
        _tar(*(_header(b"t", size=b"0\0", kind=kind) for kind in (b"!", b"\0", b"7", b"Z", b"\xff"))),
    ),
    "many: directories": ("tgz", gzip.compress(_many(30_000, b"5"))),
    "many: files": ("tgz", gzip.compress(_many(30_000))),
    "bomb: gzip": ("tgz", _bomb("tgz")),
    "bomb: zstd": ("tar.zst", _bomb("tar.zst")),
    "an HTML page": ("tgz", b"<!DOCTYPE html><title>Sign in</title>"),
    "nothing": ("tar.xz", b""),
    "zeros": ("tar", bytes(100_000)),
    "zip: outside": ("zip", _zip("../" * 9 + "escaped", "/tmp/devserver-escaped", "..\\..\\escaped")),  # noqa: S108 - a name in it
    "zip: links": ("zip", _zip("x", content=b"/etc/passwd", mode=0o120777)),
    "zip: devices": ("zip", _zip("x", mode=0o020666)),
    "zip: setuid": ("zip", _zip("x", mode=0o104755)),
    "zip: control characters": ("zip", _zip("a\nb", "a\x1bb", "a\0b")),
    "zip: overlapping members": ("zip", _overlapping()),
    "zip: a directory that lies": ("zip", _zip("x").replace(b"PK\5\6", b"PK\5\7")),
}

_TREE = "mkdir -p t/a/b; echo evil > t/a/b/x; ln -s b t/a/l; ln t/a/b/x t/a/h; head -c 3000 /dev/zero > t/zeros; "
_LONG = "d=t/$(printf 'd%.0s' $(seq 200)); mkdir -p $d/$(printf 'e%.0s' $(seq 200)); echo evil > $d/f; "

BY_TOOLS: dict[str, tuple[str, str]] = {
    "tar: gnu": ("tar", _TREE + "tar --format=gnu -cf hostile.tar -C t ."),
    "tar: oldgnu": ("tar", _TREE + _LONG + "tar --format=oldgnu -cf hostile.tar -C t ."),
    "tar: v7": ("tar", _TREE + "tar --format=v7 -cf hostile.tar -C t ."),
    "tar: ustar": ("tgz", _TREE + "tar --format=ustar -czf hostile.tgz -C t ."),
    "tar: posix": ("tar.bz2", _TREE + _LONG + "tar --format=posix -cjf hostile.tar.bz2 -C t ."),
    "tar: posix, attributes": ("tar", _TREE + "tar --format=posix --xattrs --acls --selinux -cf hostile.tar -C t ."),
    "tar: sparse": ("tar.xz", "truncate -s 64M s; echo x >> s; tar --sparse -cJf hostile.tar.xz s"),
    "tar: sparse, posix": ("tar", "truncate -s 900M s; tar --format=posix --sparse -cf hostile.tar s"),
    "tar: sparse, huge": ("tar", "truncate -s 7T s; tar --sparse -cf hostile.tar s"),
    "tar: a volume label": ("tar", _TREE + "tar --label=evil -cf hostile.tar -C t ."),
    "tar: incremental": ("tar", _TREE + "tar --listed-incremental=snar -cf hostile.tar t"),
    "tar: absolute names": ("tar", _TREE + 'tar -P -cf hostile.tar "$PWD/t"'),
    "tar: transformed outside": ("tar", _TREE + "tar -P --transform='s,^,../../../,' -cf hostile.tar t"),
    "tar: devices": ("tar", "tar -P -cf hostile.tar /dev/null /dev/zero"),
    "tar: a pipe": ("tar", "mkfifo p; tar -cf hostile.tar p"),
    "tar: setuid": ("tar", "echo x > s; chmod 7777 s; tar -cf hostile.tar s"),
    "tar: appended": (
        "tar",
        _TREE + "tar -cf hostile.tar t/a; tar -rf hostile.tar t/zeros; tar -Af hostile.tar hostile.tar || true",
    ),
    "tar: concatenated": ("tar.bz2", _TREE + "tar -cjf 1 t/a; tar -cjf 2 t/zeros; cat 1 2 > hostile.tar.bz2"),
    "tar: another suffix": ("tgz", _TREE + "tar -cJf hostile.tgz -C t ."),
    "tar: multi-volume": (
        "tar",
        "head -c 30000 /dev/zero > z; tar -M -L 10 -cf hostile.tar -f 2 -f 3 -f 4 -f 5 z < /dev/null",
    ),
    "bsdtar: pax": ("tar", _TREE + "bsdtar --format=pax -cf hostile.tar -C t ."),
    "bsdtar: cpio": ("tar", _TREE + "bsdtar --format=newc -cf hostile.tar -C t ."),
    "bsdtar: shar": ("tar", _TREE + "bsdtar --format=shar -cf hostile.tar -C t ."),
    "bsdtar: zip": ("zip", _TREE + "bsdtar --format=zip -cf hostile.zip -C t ."),
    "bsdtar: 7zip as zip": ("zip", _TREE + "bsdtar --format=7zip -cf hostile.zip -C t ."),
    "zip: links kept": ("zip", _TREE + "ln -s /etc/passwd t/out; zip -qry hostile.zip t"),
    "zip: streamed": ("zip", _TREE + "cd t; zip -qr - . | cat > ../hostile.zip"),
    "zip: encrypted": ("zip", _TREE + "zip -qr -P evil hostile.zip t"),
    "zip: stored": ("zip", _TREE + "zip -qr0 hostile.zip t"),
    "xz: a dictionary of a gibibyte": (
        "tar.xz",
        _TREE + "tar -c -C t . | xz --lzma2=preset=0,dict=1024MiB > hostile.tar.xz",
    ),
    "xz: several streams, padding": (
        "tar.xz",
        _TREE + "tar -c -C t . | xz > 1; head -c 8 /dev/zero > 2; cat 1 2 1 > hostile.tar.xz",
    ),
    "zstd: a window of 2 GiB": ("tar.zst", _TREE + "tar -c -C t . | zstd -q --ultra --long=31 -1 > hostile.tar.zst"),
}
