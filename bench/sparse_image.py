"""``python -m bench.sparse_image``: an image with holes in a .tar.xz, staged and served, and unpacked by GNU tar."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import monotonic

import click
import requests

from bench.processes import PROJECT, server

_GIB = 1024**3
_STRETCH = 4 * 1024**2  # bytes of data at a time
_RANGES = 60
_IMAGE = "chromiumos_test_image.bin"


@click.command()
@click.option("--size", type=click.IntRange(min=1), default=8, show_default=True, help="GiB of the image.")
@click.option("--data", type=click.IntRange(min=1), default=1, show_default=True, help="GiB that are no holes.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of each, in turns.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where there is room.  [default: a temporary one]")
def command_line(size: int, data: int, rounds: int, directory: Path | None) -> None:
    """Pack an image as chromite does, have it staged and unpacked by tar in turns, and compare time, room and bytes."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        root = Path(scratch)
        build = root / "archive" / "target" / "version"
        build.mkdir(parents=True)
        image = root / _IMAGE
        _write_image(image, size * _GIB, data * _GIB)
        packed = build / f"{_IMAGE.removesuffix('.bin')}.tar.xz"
        _run("tar", "--sparse", "--hole-detection=raw", "-C", root, "-I", "xz -T0 -1", "-cf", packed, _IMAGE)
        click.echo(f"{size} GiB with {data} GiB of data, {packed.stat().st_size / _GIB:.2f} GiB packed")
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(_seconds_of_tar(packed, root))
            ours.append(_seconds_of_devserver(build, image, root))
    click.echo(f"tar --sparse -xJf: {_told(theirs)}")
    click.echo(f"devserver: {_told(ours)}; its speed is {median(theirs) / median(ours):.2f} of tar's")


def _write_image(path: Path, size: int, data: int) -> None:
    """An image whose data, half of it zeros and half of it noise, lies in stretches all over it."""
    chance = random.Random(1)  # noqa: S311 - nothing is secret
    count = data // _STRETCH
    with path.open("wb") as image:
        image.truncate(size)
        for place in sorted(chance.sample(range(size // _STRETCH), count)):
            image.seek(place * _STRETCH)
            for _ in range(_STRETCH // 8192):
                image.write(chance.randbytes(4096) + b"program text.\n\0\0" * 256)


def _seconds_of_tar(packed: Path, root: Path) -> float:
    target = root / "by-tar"
    target.mkdir()
    began = monotonic()
    _run("tar", "--sparse", "-xJf", packed, "-C", target)
    took = monotonic() - began
    _run("rm", "-r", target)
    return took


def _seconds_of_devserver(build: Path, image: Path, root: Path) -> float:
    """How long the image takes to be staged. Prints the room that it takes, and how many ranges are wrong."""
    static, portfile = root / "static", root / "port"
    archive = build.parent.parent
    command = [sys.executable, str(PROJECT / "devserver.py"), "--port=0", f"--portfile={portfile}"]
    more = [f"--static-dir={static}", f"--archive-root={archive}", "--production"]
    with server([*command, *more], portfile, root / "log") as (_, port):
        url = f"http://127.0.0.1:{port}"
        query = {"archive_url": f"file://{build}", "artifacts": "test_image"}
        began = monotonic()
        requests.get(f"{url}/stage", query, timeout=3600).raise_for_status()
        took = monotonic() - began
        served = f"{url}/static/target/version/{_IMAGE}"
        wrong = sum(1 for start, end in _ranges(image.stat().st_size) if not _is_right(served, image, start, end))
    room = sum(os.lstat(path).st_blocks * 512 for path in static.rglob("*"))
    click.echo(f"staged in {took:.1f} s, {room / _GIB:.3f} GiB on the disk, {wrong} of {_RANGES} ranges wrong")
    _run("rm", "-r", static)
    return took


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    chance = random.Random(2)  # noqa: S311 - nothing is secret
    for _ in range(_RANGES):
        start = chance.randrange(size)
        yield start, min(size, start + chance.randrange(1, 16 * 1024**2)) - 1


def _is_right(url: str, image: Path, start: int, end: int) -> bool:
    answer = requests.get(url, headers={"Range": f"bytes={start}-{end}"}, timeout=60)
    with image.open("rb") as content:
        content.seek(start)
        return answer.status_code == 206 and answer.content == content.read(end - start + 1)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - programs of this file


def _told(took: list[float]) -> str:
    return f"{median(took):.1f} s ({min(took):.1f} to {max(took):.1f})"


if __name__ == "__main__":
    command_line()
