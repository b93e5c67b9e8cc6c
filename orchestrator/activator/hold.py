"""
The gate and the budget on an event loop: futures, one timer, the log.

Every call into the pure floor is followed by the same two duties: wake those
whose wait is over, and see that the timer is early enough. Nothing else is
decided here.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from orchestrator.activator.budget import Budget, Permit, Pool
from orchestrator.activator.gate import Changes, Gate
from orchestrator.activator.waiter import Reply, Verdict, Waiter
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want

log = structlog.get_logger(__name__)

#: Deadlines that are closer together than this share a tick.
_TICK_S: Final = 0.01


class Hold:
    """Holds requests until the leader, or time, has decided. Belongs to the loop it is made on."""

    def __init__(self, gate: Gate, budget: Budget) -> None:
        self.budget = budget
        #: Set when there is something to tell the leader.
        self.news = asyncio.Event()
        #: Whether a leader was ever heard.
        self.heard = False
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._verdicts: dict[Waiter, asyncio.Future[None]] = {}
        self._permits: dict[Permit, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    # For requests.

    def admit(
        self, model: str, *, load: bool, stale: bool, since: float, deadline: float, own_deadline: bool
    ) -> Waiter | Reply:
        """See Gate.admit; `since` is when the request came."""
        waiter = self._gate.admit(
            model, load=load, stale=stale, now=since, deadline=deadline, own_deadline=own_deadline
        )
        self._after()
        return waiter

    async def verdict(self, waiter: Waiter) -> Verdict:
        """Wait for what becomes of it."""
        while waiter.verdict is None:
            future = self._verdicts[waiter] = self._loop.create_future()
            try:
                await future
            finally:
                del self._verdicts[waiter]
        return waiter.verdict

    def stale(self, waiter: Waiter, serial: int) -> None:
        """See Gate.stale."""
        self._gate.stale(waiter, serial, self._loop.time())
        self._after()

    def leave(self, waiter: Waiter) -> None:
        """See Gate.leave."""
        self._gate.leave(waiter, self._loop.time())
        self._after()

    async def permit(self, pool: Pool, size: int, deadline: float | None, *, model: str) -> Permit | None:
        """A granted permit; None if the line is full, or the deadline passes first. `model`: see Permit."""
        permit = pool.ask(size, model)
        if permit is None or permit.granted:
            return permit
        future = self._permits[permit] = self._loop.create_future()
        kept = False
        try:
            async with asyncio.timeout_at(deadline):
                await future
            kept = True
        except TimeoutError:
            return None
        finally:
            del self._permits[permit]
            if not kept:
                self.release(pool, permit)
        return permit

    def charge(self, pool: Pool, size: int, model: str) -> Permit | None:
        """See Pool.charge."""
        permit = pool.charge(size, model)
        self._grant(pool)
        return permit

    def settle(self, pool: Pool, permit: Permit, size: int) -> None:
        """See Pool.settle."""
        pool.settle(permit, size)
        self._grant(pool)

    def release(self, pool: Pool, permit: Permit) -> None:
        """See Pool.release."""
        pool.release(permit)
        self._grant(pool)

    @property
    def waiting(self) -> int:
        """How many requests are held or on their way to a server."""
        return self._gate.waiting

    def close(self, reason: str) -> None:
        """End every wait with UNAVAILABLE and the reason."""
        self._gate.close(reason)
        self._after()

    # For the demand client.

    def answer(self, model: str, answer: Answer) -> None:
        """The leader's latest word."""
        now = self._loop.time()
        heard = self._gate.answer(model, answer, now)
        self._after()
        if heard is None or heard.previous == answer:
            return
        fields = {"trained_model": model, "waiting": heard.waiters, "duration_ms": round((now - heard.since) * 1000)}
        match answer:
            case WaitFor(message) if not isinstance(heard.previous, WaitFor | OnDemand):
                log.info("model_held", message=message, **fields)
            case ReadyAt(endpoints):
                log.info("model_answered", endpoints=endpoints, **fields)
            case Refused(code, message) if heard.previous is not None:
                log.info("model_refused", code=code, message=message, **fields)
            case _:
                # Anyone may ask for a name that does not exist, as often as he likes: that is not logged.
                pass

    def changes(self) -> Changes:
        """What the leader has not been told."""
        self.news.clear()
        return self._gate.changes()

    def everything(self) -> dict[str, Want]:
        """All that is wanted."""
        self.news.clear()
        return self._gate.everything()

    def unheard(self) -> None:
        """The leader is gone."""
        self._gate.unheard()
        self._after()

    def stop_timer(self) -> None:
        """No tick any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self) -> None:
        for waiter in self._gate.settled():
            future = self._verdicts.get(waiter)
            if future is not None and not future.done():
                future.set_result(None)
        if self._gate.changed:
            self.news.set()
        due = self._gate.next_tick()
        if due < self._timer_at:
            at = max(due, self._loop.time() + _TICK_S)
            if at < self._timer_at:
                self.stop_timer()
                self._timer_at = at
                self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer_at = float("inf")
        self._gate.tick(self._loop.time())
        self._after()

    def _grant(self, pool: Pool) -> None:
        for permit in pool.granted():
            future = self._permits.get(permit)
            if future is not None and not future.done():
                future.set_result(None)
