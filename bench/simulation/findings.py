"""What the model and the real lab gave, kept as JSON, so that a part of it can be found out anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from bench.simulation.measured import Figure
from bench.simulation.questions import Loss, Needed, Range, Rollout
from bench.simulation.validation import Compared, Curves, Validation

_T = TypeVar("_T")


@dataclass
class Findings:
    """Everything that docs/scaling.md tells."""

    figures: list[Figure] = field(default_factory=list)
    needed: list[Needed] = field(default_factory=list)
    rollouts: list[Rollout] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    validation: Validation | None = None

    @classmethod
    def read(cls, path: Path) -> Findings:
        """What :meth:`write` wrote; nothing, where nothing was written yet."""
        if not path.exists():
            return cls()
        data = json.loads(path.read_text())
        return cls(
            [Figure(**one) for one in data["figures"]],
            [_restored(Needed, one) for one in data["needed"]],
            [_restored(Rollout, one) for one in data["rollouts"]],
            [_restored(Loss, one) for one in data["losses"]],
            _validation(data["validation"]) if data["validation"] else None,
        )

    def write(self, path: Path) -> None:
        """Keep it all."""
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n")


def _validation(data: Mapping[str, Any]) -> Validation:
    compared, curves = [Compared(**one) for one in data["compared"]], [Curves(**one) for one in data["curves"]]
    return Validation(compared, curves, data["figures"])


def _restored(kind: type[_T], data: Mapping[str, Any]) -> _T:
    """A dataclass of what JSON has of it: its ranges became lists."""
    ranges = {one.name for one in fields(kind) if one.type == "Range"}  # type: ignore[arg-type]
    return kind(**{name: Range(*value) if name in ranges else value for name, value in data.items()})


def _rounded(data: Any) -> Any:
    """The same, with no more digits than mean anything."""
    if isinstance(data, float):
        return float(f"{data:.6g}")
    if isinstance(data, Mapping):
        return {name: _rounded(value) for name, value in data.items()}
    return [_rounded(one) for one in data] if isinstance(data, (list, tuple)) else data
