"""``python -m bench.simulation``: how many devservers a lab needs; writes docs/scaling.md."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import click

from bench.processes import PROJECT
from bench.samples import BenchError
from bench.simulation import plots, report
from bench.simulation.findings import Findings
from bench.simulation.measured import GIGABIT, Assumed, parameters
from bench.simulation.questions import DEVICES, Target, loss_courses, losses, needed, rollouts
from bench.simulation.validation import Validation, validate

_PAGE = PROJECT / "docs" / "scaling.md"
_JSON = _PAGE.with_suffix(".json")
_PLOTS = PROJECT / "docs" / "scaling"
# Bytes a second of a devserver's port, and on how many devservers each build is put.
_KINDS = ((GIGABIT, 1), (GIGABIT, 4), (10 * GIGABIT, 1), (10 * GIGABIT, 2), (25 * GIGABIT, 1))
_MOST_DEVICES = {GIGABIT: 1000}  # beyond which nobody would have so narrow ports
_ROUNDS = 3
_POSITIVE = click.FloatRange(min=0, min_open=True)
_SHARE = click.FloatRange(min=0, max=1, min_open=True)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def command_line(context: click.Context) -> None:
    """Compute labs of thousands of devices, and a small one that is also run; without a command, all of it."""
    if context.invoked_subcommand is None:
        context.invoke(everything)


@command_line.command(name="report")
@click.option(
    "--only",
    type=click.Choice(["needed", "rollout", "loss", "validate"]),
    multiple=True,
    help="Only this part; the others stay as they were. Repeatable.",
)
def everything(only: Collection[str] = ()) -> None:
    """Find everything out, and write docs/scaling.md, docs/scaling.json and the plots."""
    findings = Findings.read(_JSON)
    findings.figures = parameters(Assumed()).figures
    for name, part in _PARTS.items():
        if not only or name in only:
            part(findings)
            findings.write(_JSON)
            _PAGE.write_text(report.to_markdown(findings))
    click.echo(f"\nWritten: {_PAGE}")
    _exit(findings)


@command_line.command(name="needed")
@click.option("--devices", type=click.IntRange(min=1), multiple=True, required=True, help="How many; repeatable.")
@click.option("--port", type=_POSITIVE, default=10.0, show_default=True, help="Gbit/s of a devserver's port.")
@click.option("--line", type=_POSITIVE, default=10.0, show_default=True, help="Gbit/s of the line to the archive.")
@click.option("--device-rate", type=_POSITIVE, default=40.0, show_default=True, help="MB/s that a device reads.")
@click.option("--nginx/--no-nginx", default=True, show_default=True, help="Whether nginx stands in front.")
@click.option("--copies", type=click.IntRange(min=1), default=1, show_default=True, help="Devservers for each build.")
@click.option("--share", type=_SHARE, default=0.95, show_default=True, help="Share of the devices that is imaged ...")
@click.option("--minutes", type=_POSITIVE, default=10.0, show_default=True, help="... so long after its request.")
def needed_command(
    devices: Sequence[int],
    port: float,
    line: float,
    device_rate: float,
    nginx: bool,
    copies: int,
    share: float,
    minutes: float,
) -> None:
    """Say how many devservers a lab of yours needs."""
    assumed = Assumed(device_rate * 1_000_000, port * GIGABIT, line * GIGABIT, nginx)
    for number in devices:
        try:
            one = needed(number, assumed, copies, Target(share, minutes * 60))
        except ValueError as error:
            raise click.ClickException(f"{number:,} devices: {error}") from error
        for text in report.needed_lines([one], parameters(assumed)):
            click.echo(text)


@command_line.command(name="rollout")
def rollout_command() -> None:
    """Say what a new build for a thousand devices costs the archive."""
    click.echo(report.rollout_table(list(rollouts(Assumed()))))


@command_line.command(name="loss")
def loss_command() -> None:
    """Say what happens when a devserver is lost while devices are imaged."""
    click.echo(report.loss_table(list(losses(Assumed()))))


@command_line.command(name="validate")
@click.option("--rounds", type=click.IntRange(min=1), default=_ROUNDS, show_default=True, help="Real runs of each lab.")
def validate_command(rounds: int) -> None:
    """Run a small real lab beside the model; exit status 1 if they differ by more than a quarter."""
    found = _validated(rounds)
    click.echo(report.validation_table(found))
    _exit(Findings(validation=found))


def _needed_part(findings: Findings) -> None:
    target = Target()
    findings.needed = []
    for port, copies in _KINDS:
        for devices in DEVICES:
            if devices <= _MOST_DEVICES.get(port, devices):
                findings.needed.append(needed(devices, Assumed(port=port), copies, target))
                click.echo(".", nl=False)
    click.echo("\n" + report.needed_table(findings.needed))
    plots.draw_needed(findings.needed, target, _PLOTS / "needed.png")


def _rollout_part(findings: Findings) -> None:
    findings.rollouts = list(rollouts(Assumed()))
    click.echo(report.rollout_table(findings.rollouts))
    plots.draw_rollouts(findings.rollouts, _PLOTS / "rollout.png")


def _loss_part(findings: Findings) -> None:
    findings.losses = list(losses(Assumed()))
    click.echo(report.loss_table(findings.losses))
    plots.draw_losses(list(loss_courses(Assumed())), _PLOTS / "loss.png")


def _validation_part(findings: Findings) -> None:
    findings.validation = found = _validated(_ROUNDS)
    click.echo(report.validation_table(found))
    plots.draw_validation(found.curves, _PLOTS / "validation.png")


_PARTS: dict[str, Callable[[Findings], None]] = {
    "needed": _needed_part,
    "rollout": _rollout_part,
    "loss": _loss_part,
    "validate": _validation_part,
}


def _validated(rounds: int) -> Validation:
    try:
        return validate(rounds)
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _exit(findings: Findings) -> None:
    found = findings.validation
    sys.exit(1 if found and not all(one.holds for one in found.compared) else 0)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        command_line()
