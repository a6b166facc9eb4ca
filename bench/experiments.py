"""What is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.first_answer import answer_methods
from bench.one_object import object_methods, settings_methods
from bench.peak_memory import memory_methods
from bench.profiles import LOOPBACK, Profile
from bench.samples import Method
from bench.setting import Setting
from bench.whole_build import build_methods


@dataclass(frozen=True)
class Experiment:
    """Something to measure.

    Attributes:
        name: what the command line calls it.
        title: what the report calls it.
        methods: the ways to do its work.
        profiles: where it is done; empty for everywhere.

    """

    name: str
    title: str
    methods: Callable[[Setting], list[Method]]
    profiles: tuple[Profile, ...] = ()


EXPERIMENTS = (
    Experiment("object", "One object of 512 MiB", object_methods),
    Experiment("build", "A whole build, fetched and unpacked", build_methods),
    Experiment("answer", "The answer of `/download`", answer_methods),
    Experiment("memory", "Memory while an object of 4 GiB is staged", memory_methods, (LOOPBACK,)),
    Experiment("settings", "The object of 512 MiB, with other settings", settings_methods),
)
