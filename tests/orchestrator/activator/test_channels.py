"""The cache of connections."""

from __future__ import annotations

import grpc

from orchestrator.activator.channels import Channels
from tests.orchestrator.activator.fakes import SERVICE, FakeRuntime, failing


async def test_a_connection_is_used_again() -> None:
    """One channel an address, whoever asks."""
    runtime = FakeRuntime()
    await runtime.start()
    channels = Channels(max_message_bytes=1_000)
    first = await channels.acquire(runtime.endpoint)
    second = await channels.acquire(runtime.endpoint)
    assert first is not None
    assert first is second
    call = first.unary(SERVICE + "ModelInfer")(b"x")
    assert await call.read() == b"x"
    await channels.release(first)
    await channels.release(first)
    assert len(channels) == 1
    await channels.close()
    await runtime.stop()


async def test_an_error_may_be_as_long_as_envoy_passes_on() -> None:
    """In the server's words, as where no activator is in between."""
    said = "x" * 50_000
    runtime = FakeRuntime(failing(grpc.StatusCode.INVALID_ARGUMENT, said))
    await runtime.start()
    channels = Channels(max_message_bytes=1_000)
    connection = await channels.acquire(runtime.endpoint)
    assert connection is not None
    call = connection.unary(SERVICE + "ModelInfer")(b"x")
    assert (await call.code(), await call.details()) == (grpc.StatusCode.INVALID_ARGUMENT, said)
    await channels.release(connection)
    await channels.close()
    await runtime.stop()


async def test_a_dead_address_leaves_nothing_behind() -> None:
    """The next request to it connects anew, without an old back-off, and finds the server that is back."""
    runtime = FakeRuntime()
    await runtime.start()
    endpoint = runtime.endpoint
    channels = Channels(max_message_bytes=1_000)
    connection = await channels.acquire(endpoint)
    assert connection is not None
    await channels.release(connection)
    await runtime.stop()
    assert await channels.acquire(endpoint) is None
    assert len(channels) == 0
    await runtime.start(endpoint)
    connection = await channels.acquire(endpoint)
    assert connection is not None
    await channels.release(connection)
    await channels.close()
    await runtime.stop()


async def test_the_cache_is_bounded() -> None:
    """The least recently used goes; one that is in use stays."""
    runtimes = [FakeRuntime() for _ in range(3)]
    for runtime in runtimes:
        await runtime.start()
    channels = Channels(max_message_bytes=1_000, max_channels=1)
    used = await channels.acquire(runtimes[0].endpoint)
    assert used is not None
    for runtime in runtimes[1:]:
        other = await channels.acquire(runtime.endpoint)
        assert other is not None
        await channels.release(other)
    assert len(channels) == 1
    assert await used.unary(SERVICE + "ModelInfer")(b"x").read() == b"x"
    await channels.release(used)
    await channels.close()
    for runtime in runtimes:
        await runtime.stop()
