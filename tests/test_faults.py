"""A system call that fails loses nothing, and leaves nothing behind: the short form of ``make faults``."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from staging.errors import DiskFailure, as_devserver_error
from staging.presence import exists, names_in, remove_if_empty, remove_tree
from tests.servers import PROJECT


def test_no_file_descriptor_left_during_a_removal_makes_no_orphans() -> None:
    command = [sys.executable, "-m", "campaigns.faults", "--only", "remove", "--error", "EMFILE", "--mode", "once"]
    ran = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"\| runs \| [1-9][0-9]", ran.stdout)
    assert "| LOST | 0 |" in ran.stdout
    assert "| ORPHAN | 0 |" in ran.stdout


def test_only_what_is_absent_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for absent in (tmp_path / "none", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        assert not exists(absent)
        assert names_in(absent) == []
        remove_tree(absent)
        assert remove_if_empty(absent)
    assert not remove_if_empty(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert exists(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        names_in(tmp_path / "loop")


def test_a_disk_that_fails_is_told_as_such() -> None:
    cause = as_devserver_error(OSError(errno.EIO, os.strerror(errno.EIO), "/srv/secret"), "target/version")
    assert isinstance(cause, DiskFailure)
    assert str(cause) == "the devserver's disk failed at target/version: Input/output error"
