"""The plots of docs/scaling.md: colours that the colour-blind tell apart, and a marker or a dash for each besides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.simulation.measured import GIGABIT
from bench.simulation.questions import LossCourse, Needed, Rollout, Target
from bench.simulation.validation import Curves

_GIGABYTE = 1e9
_DOTS = 110  # an inch


class _Style(NamedTuple):
    color: str
    marker: str
    dash: str


# The colours are those of Okabe and Ito.
_STYLES = (
    _Style("#0072B2", "o", "-"),
    _Style("#D55E00", "s", "--"),
    _Style("#009E73", "^", "-."),
    _Style("#CC79A7", "D", ":"),
    _Style("#000000", "v", "-"),
)
_GREY = "#777777"


def draw_needed(several: Sequence[Needed], target: Target, path: Path) -> None:
    """How many devservers, over the number of devices: a line for each kind of lab."""
    with _figure(path, 1) as (axes,):
        kinds = dict.fromkeys((one.port, one.copies) for one in several)
        for (port, copies), style in zip(kinds, _STYLES, strict=False):
            mine = [one for one in several if (one.port, one.copies) == (port, copies)]
            on = "one devserver" if copies == 1 else f"{copies} devservers"
            label = f"ports of {port / GIGABIT:g} Gbit/s, each build on {on}"
            _line(axes, [one.devices for one in mine], [one.devservers for one in mine], label, style)
        axes.set(xscale="log", yscale="log", xlabel="devices", ylabel="devservers")
        _plain_ticks(axes, sorted({one.devices for one in several}), [1, 2, 5, 10, 20, 50, 100, 200])
        axes.set_title(f"Devservers for {target.share:.0%} of devices imaged within {target.seconds / 60:g} min")
        axes.legend(fontsize=8)


def draw_rollouts(several: Sequence[Rollout], path: Path) -> None:
    """What crosses the line to the archive, and how long a rollout takes, over the number of devservers."""
    with _figure(path, 2) as (left, right):
        for peers, style in zip((False, True), _STYLES, strict=False):
            mine = [one for one in several if one.peers is peers and one.internet == GIGABIT]
            label = "filled from peers" if peers else "each from the archive"
            numbers = [one.devservers for one in mine]
            _line(left, numbers, [one.archive_bytes.median / _GIGABYTE for one in mine], label, style)
            _line(right, numbers, [one.waited.median / 60 for one in mine], label, style)
        left.set(title="Read from the archive", ylabel="GB", ylim=(0, None))
        right.set(title="95 % of the devices imaged", ylabel="minutes", ylim=(0, None))
        for axes in (left, right):
            axes.set(xscale="log", xlabel="devservers")
            _plain_ticks(axes, [one.devservers for one in several], [])
            axes.legend(fontsize=8)


def draw_losses(several: Sequence[LossCourse], path: Path) -> None:
    """How many devices are imaged, over time, with and without the loss of a devserver."""
    with _figure(path, 1) as (axes,):
        for one, style in zip(several, _STYLES, strict=False):
            _steps(axes, one.imaged, one.label, style.color, style.dash, 1.8)
            if one.lost_at is not None:
                axes.axvline(one.lost_at / 60, color=style.color, linestyle=":", linewidth=1)
        axes.set(xlabel="minutes since the first request", ylabel="devices imaged", xlim=(0, None), ylim=(0, None))
        axes.set_title("A devserver of four is lost (dotted: when)")
        axes.legend(fontsize=8, loc="lower right")


def draw_validation(several: Sequence[Curves], path: Path) -> None:
    """How many devices are imaged, over time: by the model, and in each real run."""
    with _figure(path, len(several)) as all_axes:
        for axes, curves in zip(all_axes, several, strict=True):
            for number, real in enumerate(curves.real):
                label = f"{len(curves.real)} real runs" if number == 0 else ""
                _steps(axes, real, label, _STYLES[0].color, "-", 1.0, 1.0)
            _steps(axes, curves.model, "model", _STYLES[1].color, "--", 2.0, 1.0)
            if curves.lost_at is not None:
                axes.axvline(curves.lost_at, color=_GREY, linestyle=":", linewidth=1.2, label="the devserver is lost")
            axes.set(xlabel="seconds since the beginning", ylabel="devices imaged", xlim=(0, None), ylim=(0, None))
            axes.set_title(curves.scenario.capitalize())
            axes.legend(fontsize=8, loc="upper left")


@contextmanager
def _figure(path: Path, panels: int) -> Iterator[Sequence[Axes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7.0 if panels == 1 else 8.5, 4.2), layout="constrained")
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    yield axes
    for one in axes:
        one.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        one.set_axisbelow(True)
    figure.savefig(path, dpi=_DOTS)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], label: str, style: _Style) -> None:
    axes.plot(x, y, label=label, color=style.color, marker=style.marker, linestyle=style.dash, markersize=5)


def _steps(
    axes: Axes, moments: Sequence[float], label: str, color: str, dash: str, width: float, unit: float = 60.0
) -> None:
    moments = sorted(moments)
    x = [0.0, *(moment / unit for moment in moments)]
    axes.step(x, range(len(x)), where="post", label=label, color=color, linestyle=dash, linewidth=width)


def _plain_ticks(axes: Axes, x: Sequence[int], y: Sequence[int]) -> None:
    """Numbers as they are, where a logarithmic scale would write powers."""
    for axis, ticks in ((axes.xaxis, sorted(set(x))), (axes.yaxis, y)):
        if ticks:
            axis.set_ticks(ticks, labels=[f"{tick:,}" for tick in ticks])
            axis.set_ticks([], minor=True)
