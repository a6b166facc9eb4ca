"""Files are served, to so many clients at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from bench.archive.data import LARGE_FILE, MEDIUM_FILES, SERVED_PATH, SMALL_FILES
from bench.devservers import fresh_devserver
from bench.fetching.checking import check_staged
from bench.samples import LoadSample, Method
from bench.serving import wrk
from bench.serving.servers import by_devserver, by_front, by_nginx, by_staticdir
from bench.setting import Setting

_WARM_UP = 1  # seconds of the same load that are not counted
_SECONDS = 3  # that are
_QUICK_SECONDS = 1
_PART = 64 * 1024  # bytes of a range


@dataclass(frozen=True)
class Load:
    """What clients ask for.

    Attributes:
        name: what limits and the JSON call it.
        text: what a reader is told that it is.
        files: which files, in turn.
        clients: how many of them ask at once.
        part: bytes of a range, anywhere in the file; 0 for the whole file.
        with_staticdir: whether CherryPy's ``staticdir`` is measured too.

    """

    name: str
    text: str
    files: Sequence[str]
    clients: int
    part: int = 0
    with_staticdir: bool = False


def _load(size: str, files: Sequence[str], clients: int, with_staticdir: bool = False) -> Load:
    text = f"{'a file' if len(files) == 1 else 'files'} of {size}, {clients} client{'s' if clients > 1 else ''}"
    return Load(f"serving-{size.replace(' ', '-')}-{clients}", text, files, clients, with_staticdir=with_staticdir)


SMALL_BY_8 = _load("64 KiB", SMALL_FILES, 8, with_staticdir=True)
MEDIUM_BY_8 = _load("4 MiB", MEDIUM_FILES, 8, with_staticdir=True)
LARGE_BY_1 = _load("1 GiB", [LARGE_FILE], 1)
LARGE_BY_64 = _load("1 GiB", [LARGE_FILE], 64)
LOADS = (
    _load("64 KiB", SMALL_FILES, 1),
    SMALL_BY_8,
    _load("64 KiB", SMALL_FILES, 64),
    _load("4 MiB", MEDIUM_FILES, 1),
    MEDIUM_BY_8,
    _load("4 MiB", MEDIUM_FILES, 64),
    LARGE_BY_1,
    _load("1 GiB", [LARGE_FILE], 8),
    LARGE_BY_64,
    Load("serving-range-1", "ranges of 64 KiB of a file of 1 GiB, 1 client", [LARGE_FILE], 1, _PART),
    Load("serving-range-8", "ranges of 64 KiB of a file of 1 GiB, 8 clients", [LARGE_FILE], 8, _PART),
)

_Server = Callable[[Path, Path], AbstractContextManager[str]]


def serving_methods(load: Load, setting: Setting) -> list[Method]:
    """The servers that the files are asked of."""
    servers: dict[str, tuple[str, _Server]] = {
        "devserver": ("**a devserver**", partial(by_devserver, setting.checkout)),
        "nginx": ("nginx", by_nginx),
        "front": ("nginx in front of a devserver, by `devserver nginx-config`", partial(by_front, setting.checkout)),
    }
    if load.with_staticdir:
        servers["staticdir"] = ("a bare CherryPy with `tools.staticdir`", by_staticdir)
    return [Method(name, label, partial(_served, load, setting, by)) for name, (label, by) in servers.items()]


def _served(load: Load, setting: Setting, by: _Server, directory: Path) -> LoadSample:
    static_dir = _staged(setting)
    size = setting.data.objects(SERVED_PATH)[LARGE_FILE].size
    paths = [f"/static/{SERVED_PATH}/{name}" for name in load.files]
    with by(static_dir, directory) as address:
        ask = partial(wrk.load, address, paths, load.clients, log=directory / "log", part=load.part, size=size)
        ask(seconds=_WARM_UP)
        return ask(seconds=_QUICK_SECONDS if setting.is_quick else _SECONDS)


@cache
def _staged(setting: Setting) -> Path:
    """A static directory with the build of files to serve, staged by the devserver that is measured."""
    directory = setting.data.directory / f"served-{setting.checkout.name}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    objects = setting.data.objects(SERVED_PATH)
    catalogue = directory / "catalogue.toml"
    catalogue.write_text("".join(f'[[artifact]]\nname = "{name}"\npattern = "{name}"\n' for name in objects))
    options = [f"--catalog={catalogue}"]
    static_dir = directory / "static"
    with fresh_devserver(setting.archive, static_dir, directory, *options, checkout=setting.checkout) as server:
        server.download(SERVED_PATH)
        server.wait_for_status(SERVED_PATH)
    check_staged(static_dir / SERVED_PATH, objects)
    return static_dir
