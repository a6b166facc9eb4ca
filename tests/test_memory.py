"""Memory that nothing lies on goes back to the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import psutil
from web import memory

own = psutil.Process()
memory.keep_together()
kept, freed = [], []
for _ in range(4000):
    freed.append(bytearray(16_000))
    kept.append(bytearray(600))  # lives on between what does not
before = own.memory_info().rss
freed.clear()
memory.give_back()
print(before - own.memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_pages_between_what_lives_long_are_given_back() -> None:
    root = Path(__file__).parent.parent
    given_back = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert int(given_back) > 20_000_000  # of 64,000,000
