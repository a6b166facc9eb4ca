"""What is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.archive.profiles import LOOPBACK, Profile
from bench.fetching.first_answer import answer_methods
from bench.fetching.one_object import object_methods, settings_methods
from bench.fetching.peak_memory import memory_methods
from bench.fetching.whole_build import build_methods
from bench.samples import Method
from bench.serving.crowd import WAITING, crowd_methods
from bench.serving.loads import LOADS, serving_methods
from bench.setting import Setting


@dataclass(frozen=True)
class Experiment:
    """Something to measure.

    Attributes:
        name: what limits and the JSON call it.
        title: what the report calls it.
        methods: the ways to do its work.
        profiles: where it is done; empty for everywhere.

    """

    name: str
    title: str
    methods: Callable[[Setting], list[Method]]
    profiles: tuple[Profile, ...] = ()

    @property
    def group(self) -> str:
        """What the command line calls it and its like: its name up to the first dash."""
        return self.name.partition("-")[0]


EXPERIMENTS = (
    Experiment("object", "One object of 512 MiB", object_methods),
    Experiment("build", "A whole build, fetched and unpacked", build_methods),
    Experiment("answer", "The answer of `/download`", answer_methods),
    Experiment("memory", "Memory while an object of 4 GiB is staged", memory_methods, (LOOPBACK,)),
    Experiment("settings", "The object of 512 MiB, with other settings", settings_methods),
    *(Experiment(load.name, f"Serving {load.text}", partial(serving_methods, load), (LOOPBACK,)) for load in LOADS),
    Experiment("crowd", f"{WAITING:,} clients who wait for a build", crowd_methods, (LOOPBACK,)),
)
