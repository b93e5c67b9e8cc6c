"""An adapter's answer is passed on as it is; that nobody answers is an error."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from orchestrator.platform.local.adapter_health import asked
from tests.orchestrator.platform.local.test_liveness import HUNG, adapter_at


async def test_what_it_says(tmp_path: Path) -> None:
    """Whatever the status."""
    async with adapter_at(tmp_path / "a", HUNG):
        assert await asked(tmp_path / "a", "/livez", 5.0) == (503, "no answer for 16 s")
        assert (await asked(tmp_path / "a", "/other", 5.0))[0] == 404


async def test_nobody_there(tmp_path: Path) -> None:
    """It died, or had not begun."""
    with pytest.raises(aiohttp.ClientError):
        await asked(tmp_path / "none", "/livez", 5.0)
