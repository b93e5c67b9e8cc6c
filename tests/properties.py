"""
How many examples a property is tried with: so many at each commit, many more to look for what has not been found yet.
"""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import settings

EXPLORE: Final = "explore"
#: `steady` is what a commit is judged by, `explore` looks for more.
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "steady")
_FACTOR: Final = 30 if PROFILE == EXPLORE else 1


def examples(number: int, **options: Any) -> settings:
    """For a property (or a machine's TestCase) that hypothesis' own number does not suit; `options` are of settings."""
    return settings(max_examples=number * _FACTOR, **options)
