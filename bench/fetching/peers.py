"""What the others are started with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.archive.data import url_of
from bench.archive.index import BUCKET
from bench.checkout import Checkout
from bench.processes import PROJECT, Command
from bench.samples import BenchError

GSUTIL_PYTHON = PROJECT / ".venv-gsutil" / "bin" / "python"


def curl(archive: str, path: str, target: Path) -> Command:
    """One object into a file, unverified."""
    name = quote(path, safe="")
    url = f"{archive}/download/storage/v1/b/{BUCKET}/o/{name}?alt=media"
    return ["curl", "--silent", "--show-error", "--fail", "--output", str(target), url]


def rclone(archive: str, path: str, target: Path, *options: str) -> Command:
    """All objects below ``path`` into a directory, with rclone's own defaults."""
    remote = f':googlecloudstorage,anonymous=true,endpoint="{archive}/storage/v1/":{BUCKET}/{path}'
    return ["rclone", "--config=", "copy", *options, remote, str(target)]


def gsutil(path: str, target: Path) -> Command:
    """One object into a file, with gsutil's own defaults."""
    if not GSUTIL_PYTHON.exists():
        raise BenchError("gsutil is not installed; `make bench` does so")
    return [
        str(GSUTIL_PYTHON),
        str(PROJECT / "bench" / "fetching" / "plain_gsutil.py"),
        "-q",
        "cp",
        url_of(path),
        str(target),
    ]


def gsutil_environment(archive: str, directory: Path) -> dict[str, str]:
    """What sends gsutil to ``archive`` and keeps what it writes in ``directory``."""
    address = urlsplit(archive)
    configuration = directory / "boto"
    configuration.write_text(
        f"[Credentials]\ngs_json_host = {address.hostname}\ngs_json_port = {address.port}\n"
        f"[GSUtil]\nstate_dir = {directory}/gsutil\nsoftware_update_check_period = 0\ndisable_analytics_prompt = True\n"
    )
    return {"BOTO_CONFIG": str(configuration), "HOME": str(directory), "CLOUDSDK_CONFIG": str(directory)}


def untar(tarball: Path, target: Path, program: str) -> Command:
    """A tarball into a directory, ``program`` decompressing it."""
    target.mkdir(parents=True, exist_ok=True)
    return ["tar", f"--use-compress-program={program}", "-xf", str(tarball), "-C", str(target)]


def fetcher(
    checkout: Checkout,
    way: str,
    archive: str,
    path: str,
    target: Path,
    names: Iterable[str],
    settings: Mapping[str, int],
) -> Command:
    """One of the ways of ``bench/fetching/fetchers.py``, in a fresh interpreter."""
    options = [f"{name}={value}" for name, value in settings.items()]
    names_text = ",".join(names)
    return checkout.command("-m", "bench.fetching.fetchers", way, archive, path, str(target), names_text, *options)
