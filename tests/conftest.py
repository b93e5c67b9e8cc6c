"""
For all tests: one event loop a test and none beside, and properties that are the same at each run.
"""

from __future__ import annotations

import asyncio
import os

from hypothesis import settings

#: What a commit is judged by: the same examples each time, and no deadline, since this machine is shared.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
#: To look for more: HYPOTHESIS_PROFILE=explore.
settings.register_profile("explore", deadline=None, max_examples=2000)


def pytest_configure() -> None:
    """Python 3.11 makes a loop for whoever asks for the current one; pytest-asyncio asks, and nobody would close it."""
    asyncio.set_event_loop(None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
