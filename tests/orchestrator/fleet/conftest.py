"""For the tests of the client of adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.orchestrator.fleet.bench import Bench
from tests.orchestrator.waiting import eventually


@pytest.fixture(name="bench")
async def client_and_adapter(tmp_path: Path) -> AsyncIterator[Bench]:
    """The adapter runs, is listed and has reported that it is empty."""
    bench = Bench(tmp_path)
    await bench.adapter.start()
    bench.adapter.say(full=True)
    bench.client.list_pods([bench.pod])
    await eventually(lambda: bench.known)
    yield bench
    await bench.client.close()
    await bench.adapter.stop()
