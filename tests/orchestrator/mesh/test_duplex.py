"""One bidirectional stream as two plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.mesh.duplex import converse


class Peer:
    """The other side: an inbox that can be closed, and what was written to it."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[int | None] = asyncio.Queue()
        self.written: asyncio.Queue[int] = asyncio.Queue()

    async def requests(self) -> AsyncIterator[int]:
        while (item := await self.inbox.get()) is not None:
            yield item


async def test_what_a_request_makes_pending_is_written() -> None:
    """Until the peer ends its side."""
    peer, wake = Peer(), asyncio.Event()
    pending = [0]

    def take(item: int) -> None:
        pending.append(item)
        wake.set()

    def drain() -> list[int]:
        drained = pending[:]
        pending.clear()
        return drained

    task = asyncio.create_task(converse(peer.requests(), peer.written.put, take=take, pending=drain, wake=wake))
    assert await peer.written.get() == 0
    peer.inbox.put_nowait(7)
    assert await peer.written.get() == 7
    peer.inbox.put_nowait(None)
    await task


async def test_a_closed_conversation_ends_though_the_peer_says_nothing() -> None:
    """A superseded stream must not linger."""
    peer, wake = Peer(), asyncio.Event()
    closed = False
    task = asyncio.create_task(
        converse(
            peer.requests(), peer.written.put, take=lambda _: None, pending=tuple, wake=wake, closed=lambda: closed
        )
    )
    await asyncio.sleep(0)
    closed = True
    wake.set()
    await task


async def test_a_request_that_cannot_be_taken_ends_it() -> None:
    """The caller sees the reason."""
    peer = Peer()

    def take(item: int) -> None:
        raise ValueError(item)

    peer.inbox.put_nowait(7)
    with pytest.raises(ExceptionGroup) as caught:
        await converse(peer.requests(), peer.written.put, take=take, pending=tuple, wake=asyncio.Event())
    assert [error.args for error in caught.value.exceptions] == [(7,)]
