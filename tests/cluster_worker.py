"""A worker of a cluster that runs the jobs of the executors' suite, as `devserver worker` runs those of the devserver.

Usage: python -m tests.cluster_worker BROKER SILENCE
"""

from __future__ import annotations

import sys
from typing import Any

from staging.cluster.worker import ClusterWorker
from staging.executors.process import ProcessExecutor

_JOBS = ("report_many", "die_by_signal", "leave", "fail", "wait_for_the_end", "start_a_child")


def main(broker: str, silence: float) -> int:
    jobs: dict[str, Any] = {f"tests.test_executors:{name}": lambda request: request for name in _JOBS}
    executor = ProcessExecutor(["tests.test_executors"], silence)
    return ClusterWorker(broker, jobs, executor, silence, patience=5.0).serve(at_once=4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
