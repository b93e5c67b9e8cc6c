"""
Numbers of several rounds, and how they are told.

A figure of one round says little on a machine that others use: what is told is
the median, and between which others it lay.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

Series = tuple[float, ...]


def middle(series: Iterable[float]) -> float:
    """The median. Raises ValueError for none."""
    return statistics.median(tuple(series))


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed. Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def number(value: float) -> str:
    """Three digits that count, and thousands apart: 0.142, 2.23, 59.1, 476, 28,385."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def spread(series: Sequence[float]) -> str:
    """The median, and the least and the greatest if there are several: 476 (428 – 495)."""
    if not series:
        return ""
    if len(series) == 1:
        return number(series[0])
    return f"{number(middle(series))} ({number(min(series))} – {number(max(series))})"
