#!/usr/bin/env python3
"""Makes the packages of the autotest tree that it lies in: ``packager.py upload --repository=DIRECTORY --all``.

The tarball of a reference build's autotest carries a copy of it.
"""

from __future__ import annotations

import argparse
import hashlib
import tarfile
from pathlib import Path

_AUTOTEST = Path(__file__).resolve().parent.parent


def main() -> None:
    """Pack the client and each of its tests into the repository, with the list of their checksums."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["upload"])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--all", action="store_true", required=True)
    repository = parser.parse_args().repository
    client = _AUTOTEST / "client"
    folders = {"client-autotest": client}
    folders.update({f"test-{test.name}": test for test in sorted((client / "site_tests").iterdir()) if test.is_dir()})
    lines = [_pack(folder, repository / f"{name}.tar.bz2") for name, folder in folders.items()]
    (repository / "packages.checksum").write_text("".join(lines))


def _pack(folder: Path, package: Path) -> str:
    """Make ``package`` of ``folder``; returns its line of packages.checksum."""
    with tarfile.open(package, "w:bz2") as tar:
        tar.add(folder, arcname=".")
    digest = hashlib.md5(package.read_bytes(), usedforsecurity=False).hexdigest()
    return f"{digest} {package.name}\n"


if __name__ == "__main__":
    main()
