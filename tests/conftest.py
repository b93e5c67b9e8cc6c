"""
For all tests: one event loop a test and none beside, properties that are the same at each run, and who runs which.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.properties import EXPLORE, PROFILE

#: What a commit is judged by: the same examples each time, and no deadline, since this machine is shared.
settings.register_profile("steady", derandomize=True, deadline=None, database=None)
#: To look for more: HYPOTHESIS_PROFILE=explore; see properties.py, too.
settings.register_profile(EXPLORE, deadline=None, max_examples=2000)


def pytest_configure() -> None:
    """Python 3.11 makes a loop for whoever asks for the current one; pytest-asyncio asks, and nobody would close it."""
    asyncio.set_event_loop(None)
    # The console's pretty tracebacks take a second each.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, plain])
    settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Tell the tiers of the packages' own tests apart.

    Pure floors have synchronous tests: the unit tier. A test that needs an
    event loop tests a shell, with real sockets and processes: the contract tier.
    """
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.contract)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """For the report of what ran: scripts/report_tiers."""
    marks = [tier for tier in ("cluster", "standalone", "contract") if item.get_closest_marker(tier)]
    item.user_properties.append(("tier", (*marks, "unit")[0]))


class _Tiers(LoadScopeScheduling):
    """
    Each of the long tiers is one process's, since its tests share stacks; all others are for who is free.

    The longest begin first. xdist's own groups are marks in a test's id, which this pytest computes anew.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((tier for tier in ("standalone", "cluster") if nodeid.startswith(f"tests/{tier}/")), nodeid)


def pytest_xdist_auto_num_workers() -> int:
    """
    Of `-n auto`: two, or none beside this one.

    On two cores it took 29 minutes in place of 38, and in each run something that waits for a server or a leader did
    not come in its time.
    """
    return 2 if (os.cpu_count() or 1) >= 4 else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Tiers:
    """Where pytest runs in several processes: make test."""
    return _Tiers(config, log)


@pytest.fixture
def own_logs() -> Iterator[None]:
    """For who configures logging, which is global: other tests keep theirs."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
