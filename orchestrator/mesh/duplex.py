"""
One bidirectional gRPC stream as two plain functions: take each request, write pending messages.

Both of the mesh's servers work like this: requests change a ledger, and after
any change the ledger has messages to send. `wake` joins the two; it is
level-triggered, so a slow peer is sent the latest state and nothing piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TypeVar

Incoming = TypeVar("Incoming")
Outgoing = TypeVar("Outgoing")


async def converse(
    requests: AsyncIterable[Incoming],
    write: Callable[[Outgoing], Awaitable[None]],
    *,
    take: Callable[[Incoming], None],
    pending: Callable[[], Iterable[Outgoing]],
    wake: asyncio.Event,
    closed: Callable[[], bool] = lambda: False,
) -> None:
    """Run until the peer has ended its side or `closed()`; what `take` raises comes out in an ExceptionGroup."""
    ended = False

    async def read() -> None:
        nonlocal ended
        async for request in requests:
            take(request)
        ended = True
        wake.set()

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        while not (ended or closed()):
            for message in pending():
                await write(message)
            await wake.wait()
            wake.clear()
        reader.cancel()
