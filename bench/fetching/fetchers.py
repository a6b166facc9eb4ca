"""The ways to fetch that are Python, each run in an interpreter of its own; the clock starts after the imports.

``python -m bench.fetching.fetchers WAY ARCHIVE PATH TARGET NAME,… [SETTING=VALUE…]`` prints the seconds as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from time import monotonic

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

import staging.archives.gcs  # noqa: F401 - imported here, for not to be imported on the clock
from bench.archive.data import TARBALLS, url_of
from bench.archive.index import BUCKET
from staging.archives import ArchiveUrl, open_archive
from staging.fetching import ReadSettings
from staging.retry import Patience
from staging.transfer import Transfer

Names = Sequence[str]


def with_transfer(path: str, target: Path, names: Names, settings: ReadSettings) -> None:
    """As the devserver does it."""
    patience = Patience()
    archive = open_archive(ArchiveUrl.parse(url_of(path)), patience.stall_timeout)
    transfer = Transfer(archive, patience, Event(), settings)
    for name in names:
        transfer.fetch(archive.describe(name), target / name, lambda _: None)


def with_client(path: str, target: Path, names: Names, _: ReadSettings) -> None:
    """As Google's client does it when told nothing else."""
    client = storage.Client(project="none", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    bucket = client.bucket(BUCKET)
    for name in names:
        bucket.blob(f"{path}/{name}").download_to_filename(str(target / name))


def with_client_and_tarfile(path: str, target: Path, names: Names, settings: ReadSettings) -> None:
    """And the tarballs are unpacked then, by Python's own module."""
    with_client(path, target, names, settings)
    for name in set(names) & set(TARBALLS):
        with tarfile.open(target / name) as tarball:
            tarball.extractall(target / "unpacked", filter="data")


WAYS: dict[str, Callable[[str, Path, Names, ReadSettings], None]] = {
    "transfer": with_transfer,
    "client": with_client,
    "client-and-tarfile": with_client_and_tarfile,
}


def main(way: str, archive: str, path: str, target: str, names: str, *settings: str) -> None:
    """Fetch, and print how long it took."""
    os.environ["STORAGE_EMULATOR_HOST"] = archive
    read_settings = ReadSettings(**{name: int(value) for name, _, value in (one.partition("=") for one in settings)})
    Path(target).mkdir(parents=True, exist_ok=True)
    begin, cpu = monotonic(), _cpu()
    WAYS[way](path, Path(target), names.split(","), read_settings)
    sys.stdout.write(json.dumps({"wall": monotonic() - begin, "cpu": _cpu() - cpu}) + "\n")


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main(*sys.argv[1:])
