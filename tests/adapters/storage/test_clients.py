"""Clients are shared, bounded, and never closed under their users."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.storage.clients import Clients, _session
from adapters.storage.limits import StorageLimits
from tests.adapters.storage.stores import credentials

ENDPOINT = "http://127.0.0.1:9"


async def test_equal_credentials_share_a_client_and_the_idle_make_room() -> None:
    """Seventeen stores, of which one is in use throughout."""
    clients = Clients(StorageLimits())
    async with clients.client(credentials(ENDPOINT)) as first:
        async with clients.client(credentials(ENDPOINT)) as second:
            assert first is second
        for number in range(20):
            async with clients.client(credentials(ENDPOINT, access=f"key{number}")) as other:
                assert other is not first
        async with clients.client(credentials(ENDPOINT)) as again:
            assert again is first
    assert len(clients._kept) <= 17
    await clients.close()


@pytest.mark.parametrize("read_s", [0.15, 10.0, StorageLimits().read_s])
async def test_no_connection_waits_for_use_as_long_as_for_an_answer(read_s: float) -> None:
    """Longer, it may be given up in between: the next request would fail with a timeout without having waited."""
    clients = Clients(StorageLimits(read_s=read_s))
    async with clients.client(credentials(ENDPOINT)) as client:
        assert client.meta.config.connector_args["keepalive_timeout"] < read_s / 2
    await clients.close()


async def test_callers_at_the_same_time_get_the_same_client() -> None:
    """A thousand models of one store are one connection pool."""
    clients = Clients(StorageLimits())
    seen: set[int] = set()

    async def use() -> None:
        async with clients.client(credentials(ENDPOINT)) as client:
            seen.add(id(client))

    await asyncio.gather(*(use() for _ in range(20)))
    assert len(seen) == 1
    await clients.close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_PROFILE", "nobody's"),
        ("AWS_DEFAULT_PROFILE", "nobody's"),
        ("AWS_CONFIG_FILE", "{}/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "{}/.aws/config"),
        ("HOME", "{}"),
    ],
)
async def test_what_whoever_started_the_adapter_has_set_up_for_aws_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str
) -> None:
    """A profile that is not there, or a file that cannot be read, failed every model of every store."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("no configuration")
    monkeypatch.setenv(variable, value.format(tmp_path))
    _session.cache_clear()
    clients = Clients(StorageLimits())
    async with clients.client(credentials(ENDPOINT)) as client:
        assert client.meta.endpoint_url == ENDPOINT
    await clients.close()
