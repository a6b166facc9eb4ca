"""One target's search, in a process of its own: ``python -m campaigns.fuzz.search TARGET [libFuzzer's options]``."""

from __future__ import annotations

import sys

import atheris

# What is imported here is followed: the project's own readers, and the libraries that do their work in Python.
with atheris.instrument_imports(
    include=["artifacts", "staging", "web", "zipfile", "tomllib", "tomli", "http.cookies", "cherrypy._cpreqbody"]
):
    from campaigns.fuzz.targets import TARGETS


def main() -> None:
    """Search until libFuzzer ends the process."""
    read = TARGETS[sys.argv.pop(1)].read
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
