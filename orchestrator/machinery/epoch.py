"""
The leader's epoch: a number that only grows, whatever happens to clocks or records.

`max(old + 1, now)`: a lost record costs nothing as long as the clock did not
go back, a clock that went back costs nothing as long as the record is there.
"""

from __future__ import annotations

from typing import Final

#: No epoch is above it: they are milliseconds since 1970, or a little more. Greater numbers are garbage wherever they
#: come from, and nothing is to be counted up from them.
HIGHEST: Final = 2**53
#: What is told from outside of the record is not believed above it: the terms to come need epochs, too.
CREDIBLE: Final = 2**52


def next_epoch(previous: int, unix_ms: int) -> int:
    """The epoch of a new leader. `previous` is 0 where no record is left; the highest is as good as lost."""
    return max(previous + 1 if previous < HIGHEST else 0, unix_ms)


def epoch_of(text: str) -> int:
    """The epoch that is written there; 0 if that is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(HIGHEST))):
        return 0
    number = int(text)
    return number if number <= HIGHEST else 0
