"""All that reads what others wrote, by name; each takes any bytes, and fails where a promise does not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from campaigns.fuzz import messages, reading, requests, unpacking


class Target(NamedTuple):
    """Something that reads.

    Attributes:
        read: gives it any bytes; an exception is a finding.
        longest: bytes that an input may have.
        runs: how many inputs ``make fuzz`` tries.

    """

    read: Callable[[bytes], None]
    longest: int
    runs: int


_SLOW = 5_000  # each makes a tree
_QUICK = 50_000
TARGETS = {
    "tar": Target(unpacking.tar, 16_384, _SLOW),
    "gzip_tar": Target(unpacking.gzip_tar, 4096, _SLOW),
    "zstd_tar": Target(unpacking.zstd_tar, 4096, _SLOW),
    "zip_file": Target(unpacking.zip_file, 4096, _SLOW),
    "manifest": Target(reading.manifest, 4096, 20_000),
    "order": Target(reading.order, 2048, 20_000),
    "file_list": Target(reading.file_list, 2048, 20_000),
    "holds": Target(reading.holds, 2048, 20_000),
    "catalogue": Target(reading.catalogue, 2048, 20_000),
    "tokens": Target(reading.tokens, 2048, _QUICK),
    "status": Target(messages.status, 2048, _QUICK),
    "bulletin": Target(messages.bulletin, 2048, 20_000),
    "job": Target(messages.job, 4096, 20_000),
    "url": Target(requests.url, 512, _QUICK),
    "ranges": Target(requests.ranges, 512, _QUICK),
    "cookies": Target(requests.cookies, 1024, _QUICK),
    "request": Target(requests.request, 2048, _QUICK),
    "host": Target(requests.host, 512, _QUICK),
    "multipart": Target(requests.multipart, 2048, 20_000),
    "pattern": Target(requests.pattern, 512, _QUICK),
    "use_log": Target(requests.use_log, 512, _QUICK),
}
