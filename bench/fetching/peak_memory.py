"""How much memory a devserver needs beyond what it has when idle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import monotonic

from bench.archive.data import ZEROS, ZEROS_PATH, ZEROS_WARM_UP_PATH
from bench.devservers import PeakMemory, devserver
from bench.fetching.checking import check_file, check_staged
from bench.samples import Method, Sample
from bench.setting import Setting

_ZEROS_CATALOGUE = f'[[artifact]]\nname = "zeros"\npattern = "{ZEROS}"\n'


def memory_methods(setting: Setting) -> list[Method]:
    """How much memory staging a large object takes."""
    return [Method("devserver", "**a devserver** with its worker, beyond idle", partial(_stage_zeros, setting))]


def _stage_zeros(setting: Setting, directory: Path) -> Sample:
    catalogue = directory / "catalogue.toml"
    catalogue.write_text(_ZEROS_CATALOGUE)
    options = [f"--catalog={catalogue}"]
    with devserver(setting.archive, directory, ZEROS_WARM_UP_PATH, *options, checkout=setting.checkout) as server:
        cpu = server.cpu()
        begin = monotonic()
        with PeakMemory(server) as memory:
            server.download(ZEROS_PATH)
            server.wait_for_status(ZEROS_PATH)
        wall = monotonic() - begin
        sample = Sample(wall, server.cpu() - cpu, memory.peak - memory.idle)
    objects = setting.data.objects(ZEROS_PATH)
    check_staged(directory / "static" / ZEROS_PATH, objects)
    check_file(directory / "static" / ZEROS_PATH / ZEROS, objects[ZEROS])
    return sample
