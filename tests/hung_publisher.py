"""Publishes an artifact again and again, each time in a process that stops itself at a given step."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Event as Flag

from staging.layout import BuildPlaces
from staging.manifest import ArtifactRecord
from staging.publishing import StagingArea

URL = "gs://bucket/target/version"
_STEPS = ("open", "os.", "fcntl.")  # the audit events that count


def publish(directory: str, step: int) -> None:
    """Publish ``one``, and stop before the ``step``-th event of its publication."""
    places = BuildPlaces(Path(directory), "target/version")
    area = StagingArea(places, "one")
    with area.claimed(Flag(), 0):
        area.prepare()
        for name in ("file", "new/file", "shared/one"):
            (area.tree / name).parent.mkdir(exist_ok=True)
            (area.tree / name).write_text("right")
        count = [0]

        def stop(event: str, _: object) -> None:
            if event.startswith(_STEPS):
                count[0] += 1
                if count[0] == step:
                    os.kill(os.getpid(), signal.SIGSTOP)

        sys.addaudithook(stop)
        area.publish(URL, ArtifactRecord("staged"), {})


def tell(text: str) -> None:
    """Write a line to the standard output."""
    os.write(1, f"{text}\n".encode())


def main() -> None:
    """Read a directory and a step from each line of the standard input; tell of the process, and of its end."""
    for line in sys.stdin:
        directory, _, step = line.strip().rpartition(" ")
        child = os.fork()
        if not child:
            os.close(2)  # what becomes of one that was taken for dead is an error
            publish(directory, int(step))
            os._exit(0)
        _, status = os.waitpid(child, os.WUNTRACED)
        tell(f"{child} {'stopped' if os.WIFSTOPPED(status) else 'ended'}")
        if os.WIFSTOPPED(status):
            os.waitpid(child, 0)
            tell("ended")


if __name__ == "__main__":
    main()
