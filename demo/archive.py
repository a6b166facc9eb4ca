"""Publishing a build in the archive, through Google's own client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from demo.reference_build import BUILD_PATH

BUCKET = "chromeos-image-archive"
ARCHIVE_URL = f"gs://{BUCKET}/{BUILD_PATH}"


def use_emulator(url: str) -> None:
    """Have Google's client, in this process and in those it starts, talk to the emulator at ``url``, and directly."""
    os.environ["STORAGE_EMULATOR_HOST"] = url
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"


def publish(objects: Mapping[str, Path], *build_paths: str) -> None:
    """Make the bucket, and upload ``objects`` as each of the builds; the client has their crc32c verified.

    Raises:
        google.api_core.exceptions.GoogleAPICallError, google.cloud.storage.exceptions.DataCorruption
        requests.RequestException

    """
    from google.cloud import storage  # takes a third of a second: not before it is needed

    bucket = storage.Client(project="demo").create_bucket(BUCKET)
    for build_path in build_paths or (BUILD_PATH,):
        for name, path in objects.items():
            bucket.blob(f"{build_path}/{name}").upload_from_filename(str(path), checksum="crc32c")
