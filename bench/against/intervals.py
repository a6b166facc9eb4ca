"""What pairs of measurements say of a ratio: its median, and the interval that it lies in with 95 % confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from random import Random
from statistics import NormalDist, median

# The median of fewer pairs lies between the least and the greatest of them with less than 95 % confidence.
LEAST_PAIRS = 6
_CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A ratio.

    Attributes:
        median: of the pairs' ratios.
        low: where the interval begins.
        high: where it ends.

    """

    median: float
    low: float
    high: float

    def is_worse(self, bound: float, is_more_better: bool = False) -> bool:
        """Whether all of it lies beyond ``bound``, such as 0.05 for 5 %."""
        return self.high < 1 / (1 + bound) if is_more_better else self.low > 1 + bound

    def is_better(self, bound: float, is_more_better: bool = False) -> bool:
        """Whether all of it lies beyond ``bound`` on the good side."""
        return self.is_worse(bound, not is_more_better)


def ratio(new: Sequence[float], old: Sequence[float]) -> Interval:
    """The ratio of new to old; values at the same place were measured side by side, in one round.

    Rounds are drawn with replacement, and the interval holds the middle 95 % of the medians drawn: somewhat more of
    them, since few rounds vary less than what they are drawn from (Hesterberg's expanded percentiles). Equal data
    give equal intervals.
    """
    ratios = [one / other for one, other in zip(new, old, strict=True)]
    if len(ratios) < LEAST_PAIRS:
        return Interval(median(ratios), 0.0, inf)
    random = Random(0)  # noqa: S311 - for no secret
    medians = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES))
    outside = min(int(_share_outside(len(ratios)) * _RESAMPLES), _RESAMPLES // 2 - 1)
    return Interval(median(ratios), medians[outside], medians[-1 - outside])


def _share_outside(pairs: int) -> float:
    """The share of medians to leave out at each end."""
    return NormalDist().cdf(-sqrt(pairs / (pairs - 1)) * _student_quantile(pairs - 1))


def _student_quantile(freedom: int) -> float:
    """Student's t at the upper end of the confidence, by Cornish and Fisher's expansion: 2.57 for 5 degrees."""
    z = NormalDist().inv_cdf(0.5 + _CONFIDENCE / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
