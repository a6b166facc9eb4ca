"""`devserver gc`: what has to go from the disk, and what stays and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from commands.failures import CommandFailed
from commands.printing import columns, print_json, say
from staging.errors import ConfigurationError
from staging.eviction import Decision, Limits, Record, Victim
from staging.inventory import Stocktaker, nobody, unknown
from staging.presence import real_path
from staging.room import Collected, Room
from staging.units import in_bytes, in_utc
from staging.usage import LastUse

_NOT_NEEDED = "its room is not needed"
_WHOLE_BUCKET = "(a whole bucket)"


def collect(options: Mapping[str, Any], dry_run: bool, as_json: bool) -> None:
    """Remove what the server's ``options`` do not allow, or say what would be.

    Raises:
        CommandFailed: not enough of it could be removed.

    """
    static_dir = real_path(options["static_dir"])
    if not static_dir.is_dir():
        raise ConfigurationError("--static-dir", f"{options['static_dir']} is no directory")
    limits = Limits(options["max_bytes"], options["min_free"], options["max_age"])
    last_use = LastUse(static_dir)
    # Whoever reads through a devserver is known by a lock; who reads through nginx is not.
    readers = unknown if options["front"] else nobody
    room = Room(static_dir, limits, last_use, Stocktaker(static_dir, last_use, readers, None))
    try:
        gone, decision = _foreseen(room) if dry_run else room.collect()
    except OSError as error:
        raise CommandFailed(f"{options['static_dir']} cannot be worked on: {error.strerror}") from error
    if as_json:
        print_json(_as_json(gone, decision, dry_run))
    else:
        _show(gone, decision, limits, dry_run)
    if decision.missing:
        raise CommandFailed(f"{in_bytes(decision.missing)} more are used than may be, and all that could go is held")


def _foreseen(room: Room) -> Collected:
    decision = room.decision()
    return Collected(decision.goes, decision)


def _show(gone: Sequence[Victim], decision: Decision, limits: Limits, dry_run: bool) -> None:
    rows = [_row(victim.record, f"{'would go' if dry_run else 'gone'}: {_WHY[victim.reason]}") for victim in gone]
    rows += [_row(record, f"stays: {', '.join(record.holds) or _NOT_NEEDED}") for record in _stays(decision)]
    for line in columns(rows) if rows else ():
        say(line)
    if not limits.are_there:
        say("nothing goes: none of --max-bytes, --min-free and --max-age is set")
    freed = sum(victim.record.size for victim in gone)
    say(f"{len(gone)} of {len(rows)} builds {'would go' if dry_run else 'are gone'}, {in_bytes(freed)}")


_WHY = {"bytes": "more than --max-bytes", "free": "less than --min-free", "age": "not used for --max-age"}


def _row(record: Record, what: str) -> tuple[str, ...]:
    return (record.build_path or _WHOLE_BUCKET, in_bytes(record.size), f"used {in_utc(record.last_used)}", what)


def _stays(decision: Decision) -> list[Record]:
    return sorted(decision.stays, key=lambda record: (record.last_used, record.build_path))


def _as_json(gone: Sequence[Victim], decision: Decision, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "goes": [{**_record_json(victim.record), "reason": victim.reason} for victim in gone],
        "stays": [{**_record_json(record), "holds": list(record.holds)} for record in _stays(decision)],
        "missing": decision.missing,
    }


def _record_json(record: Record) -> dict[str, Any]:
    return {"build": record.build_path, "size": record.size, "last_used": in_utc(record.last_used)}
