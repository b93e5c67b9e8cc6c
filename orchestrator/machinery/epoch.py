"""
The leader's epoch: a number that only grows, whatever happens to clocks or records.

`max(old + 1, now)`: a lost record costs nothing as long as the clock did not
go back, a clock that went back costs nothing as long as the record is there.
"""

from __future__ import annotations


def next_epoch(previous: int, unix_ms: int) -> int:
    """The epoch of a new leader. `previous` is 0 where no record is left."""
    return max(previous + 1, unix_ms)
