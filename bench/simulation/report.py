"""docs/scaling.md: the text of ``scaling.md`` beside this file, and the tables that the model and the real lab gave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.simulation.findings import Findings
from bench.simulation.measured import GIGABIT, Figure, Parameters
from bench.simulation.questions import Loss, Needed, Range, Rollout
from bench.simulation.validation import Validation

_TEXT = Path(__file__).with_name("scaling.md")
_GIGABYTE = 1e9


def to_markdown(findings: Findings) -> str:
    """The page."""
    validation = findings.validation
    tables = {
        "needed": needed_table(findings.needed),
        "rollouts": rollout_table(findings.rollouts),
        "losses": loss_table(findings.losses),
        "parameters": parameter_table(findings.figures),
        "validation": validation_table(validation) if validation else "Not run yet.",
        "calibration": calibration_table(validation) if validation else "",
    }
    page = _TEXT.read_text()
    for name, table in tables.items():
        page = page.replace(f"{{{name}}}", table)
    return page


def needed_table(several: Sequence[Needed]) -> str:
    """A row for each number of devices, a column for each kind of lab."""
    kinds = list(dict.fromkeys((one.port, one.copies) for one in several))
    heads = [f"{port / GIGABIT:g} Gbit/s, {copies} cop{'y' if copies == 1 else 'ies'}" for port, copies in kinds]
    found = {(one.devices, one.port, one.copies): one for one in several}

    def cell(one: Needed | None) -> str:
        return f"{one.devservers} ({one.floor})" if one else "-"

    rows = [
        [f"{devices:,}", f"{builds:,}", *(cell(found.get((devices, *kind))) for kind in kinds)]
        for devices, builds in dict.fromkeys((one.devices, one.builds) for one in several)
    ]
    return _table(["devices", "builds", *heads], rows)


def rollout_table(several: Sequence[Rollout]) -> str:
    """A row for each lab."""
    heads = ["line, Gbit/s", "filled from", "devservers", "from the archive, GB"]
    heads += ["all can serve after, s", "all is staged after, s", "95 % imaged after, min"]
    rows = [
        [
            f"{one.internet / GIGABIT:g}",
            "peers" if one.peers else "the archive",
            f"{one.devservers}",
            _told(one.archive_bytes, _GIGABYTE, 1),
            _told(one.staged, digits=0),
            _told(one.whole, digits=0),
            _told(one.waited, 60.0, 1),
        ]
        for one in several
    ]
    return _table(heads, rows)


def loss_table(several: Sequence[Loss]) -> str:
    """A row for each lab."""
    heads = ["devservers", "copies of a build", "filled from", "builds it had", "staged elsewhere after, s"]
    heads += ["devices that began anew", "their delay: median, s", "95 %, s", "longest, s", "95 % of the others, s"]
    rows = [
        [
            f"{one.devservers}",
            f"{one.copies}",
            "peers" if one.peers else "the archive",
            *(
                _told(value, digits=0)
                for value in (
                    one.builds,
                    one.elsewhere,
                    one.restarted,
                    one.delay_median,
                    one.delay_p95,
                    one.delay_most,
                    one.others_p95,
                )
            ),
        ]
        for one in several
    ]
    return _table(heads, rows)


def parameter_table(figures: Sequence[Figure]) -> str:
    """Where each of the model's numbers comes from."""
    return _table(["what", "value", "source"], [[one.text, one.told, one.source] for one in figures])


def validation_table(validation: Validation) -> str:
    """The model's figures and the real lab's."""
    rows = [
        [
            one.scenario,
            one.text,
            f"{one.model:.1f} {one.unit}",
            f"{median(one.real):.1f} ({min(one.real):.1f} to {max(one.real):.1f}) {one.unit}",
            f"{one.ratio:.2f}",
            "yes" if one.holds else "**no**",
        ]
        for one in validation.compared
    ]
    return _table(["lab", "what", "model", "real runs", "ratio", "holds"], rows)


def calibration_table(validation: Validation) -> str:
    """What the parts gave when each was measured by itself."""
    told = {name: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}" for name, value in validation.figures.items()}
    return _table(["parameter", "value"], [[f"`{name}`", value] for name, value in told.items()])


def needed_lines(several: Iterable[Needed], given: Parameters) -> Iterator[str]:
    """What the command says of labs that were asked for."""
    for one in several:
        first = one.builds * min(one.copies, one.devservers) * given.sizes.synchronous / given.speeds.internet
        yield (
            f"{one.devices:,} devices, {one.builds} builds: {one.devservers} devservers "
            f"({one.floor} if all were always busy); imaged after {_told(one.waited, digits=0)} s; "
            f"the line to the archive is busy for {first:.0f} s before all have what they need first"
        )


def _told(value: Range, unit: float = 1.0, digits: int = 1) -> str:
    """The median, and the range where the runs differ."""
    shown = [f"{round(number / unit, digits) + 0.0:,.{digits}f}" for number in value]  # + 0.0: no zero is negative
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" if line[0] != "---" else "|---" * len(line) + "|" for line in lines)
