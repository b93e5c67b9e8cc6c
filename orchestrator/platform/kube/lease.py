"""
The lead over one namespace: a Lease of Kubernetes, and the epoch on it.

What is decided is in election.py; this reads, writes and waits. Each attempt
has a timeout that ends within what is left of the lead, so that a server that
does not answer cannot keep anybody believing. A write whose answer was lost is
looked at before the next: it may have taken effect.

The election of kubernetes_asyncio is not used: it renews for ever what a task
leads that has died, leaves the task running when it is cancelled, ends at the
first connection that breaks, compares clocks, and has no epoch.

Not promised: that work has ended before the lease is let go. `release` comes
last, after whoever led has stopped.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import structlog

from orchestrator.machinery.epoch import epoch_of
from orchestrator.machinery.term import Term
from orchestrator.platform.kube import names
from orchestrator.platform.kube.answers import ApiError, ApiUnreachable, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.election import (
    Record,
    Standing,
    Timing,
    bid,
    looked,
    release,
    renewal,
    written,
)
from orchestrator.platform.kube.paths import group

log = structlog.get_logger(__name__)

_VERSION: Final = "coordination.k8s.io/v1"


class Elector:
    """One process's part in the election. In the order: `acquire`, then `keep`, and `release` at the end, always."""

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        pod: str,
        *,
        clock: Callable[[], float],
        wall_ns: Callable[[], int],
        random: Callable[[], float],
        timing: Timing | None = None,
    ) -> None:
        """`clock` is monotonic; `wall_ns` is the time since 1970, and may jump; `random` gives [0, 1)."""
        self._api = api
        self._collection = group(_VERSION, "leases", namespace)
        self._path = group(_VERSION, "leases", namespace, names.ORCHESTRATOR_NAME)
        self._clock = clock
        self._wall_ns = wall_ns
        self._random = random
        self._timing = timing or Timing()
        #: Of this process and no other: a container that starts again has its pod's name again.
        self.identity: Final = f"{pod}_{secrets.token_hex(4)}"
        self._standing = Standing(me=self.identity, timing=self._timing)
        #: The object as it was last read or written; None: not since the last write without an answer.
        self._raw: Raw | None = None
        self._term: Term | None = None
        self._problem = ""

    @property
    def holder(self) -> str:
        """The identity of the leader as last seen, also this one's own; empty: none, or not known."""
        return self._standing.holder

    async def acquire(self) -> Term:
        """Stand by until the lead is there. The epoch was written with it."""
        while True:
            if await self._attempt(self._campaign, self._timing.deadline_s):
                self._term = Term(self._standing.epoch, holds=lambda: self._standing.leads(self._clock()))
                log.info("lease_acquired", epoch=self._standing.epoch, identity=self.identity)
                return self._term
            await asyncio.sleep(self._pause_s(self._timing.look_s))

    async def keep(self) -> None:
        """Renew the lead. Returns when it is lost, and the term is over then."""
        term = self._term
        if term is None:
            raise RuntimeError("there is no lead to keep")
        while (left_s := self._standing.until - self._clock()) > 0:
            await asyncio.sleep(min(left_s, self._pause_s(self._timing.retry_s)))
            until = self._standing.until
            await self._attempt(self._renew, until - self._clock())
            if self._standing.until > until:
                term.confirm()
        seen = self._standing.seen
        if seen is not None and seen.holder == self.identity:
            term.lose(self._problem or "its time ran out")
        elif seen is not None:
            term.hear(seen.epoch, f"lease of {seen.holder or 'nobody'}")
            term.lose(f"the lease is held by {seen.holder or 'nobody'}")

    async def release(self) -> None:
        """Let go of it, if it is held; whoever stands by need not wait then. What fails is logged, and runs out."""
        await self._attempt(self._let_go, self._timing.deadline_s)

    async def _campaign(self) -> None:
        raw = await self._look()
        record = bid(
            self._standing, self._clock(), unix_ms=self._wall_ns() // 1_000_000, timestamp=_timestamp(self._wall_ns())
        )
        if record is not None:
            await self._write(raw, record)

    async def _renew(self) -> None:
        raw = self._raw if self._raw is not None else await self._look()
        seen = self._standing.seen
        record = None if seen is None else renewal(self._standing, seen, timestamp=_timestamp(self._wall_ns()))
        if record is not None:
            await self._write(raw, record)

    async def _let_go(self) -> None:
        raw = await self._look()
        heard = self._term.successor if self._term is not None else 0
        seen = self._standing.seen
        record = (
            None if seen is None else release(self._standing, seen, timestamp=_timestamp(self._wall_ns()), heard=heard)
        )
        if record is not None:
            await self._write(raw, record)
            log.info("lease_released", epoch=self._standing.epoch, identity=self.identity)

    async def _attempt(self, step: Callable[[], Any], within_s: float) -> bool:
        """Whether this process leads after it. A failure is said once, until it is another or over."""
        problem = ""
        try:
            async with asyncio.timeout(min(within_s, self._timing.deadline_s / 2)):
                await step()
        except ApiError as error:
            # Another was faster, or changed something else: the next look tells.
            problem = "" if error.status == HTTPStatus.CONFLICT else str(error)
        except ApiUnreachable as error:
            problem = str(error)
        except TimeoutError:
            problem = "no answer in time"
        if problem and problem != self._problem:
            log.warning("lease_trouble", problem=problem, holder=self.holder)
        self._problem = problem
        return self._standing.leads(self._clock())

    async def _look(self) -> Raw | None:
        try:
            self._raw = await self._api.get(self._path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._raw = None
        before, said = self.holder, _epoch_said(self._raw or {})
        record = record_of(self._raw or {})
        if said and not record.epoch and record != self._standing.seen:
            log.warning("lease_epoch_unreadable", said=said[:40], length=len(said))
        self._standing = looked(self._standing, record, self._clock())
        if self.holder not in {before, self.identity}:
            log.info("lease_seen", holder=self.holder)
        return self._raw

    async def _write(self, raw: Raw | None, record: Record) -> None:
        """A compare-and-swap on `raw`; None: on there being no Lease."""
        began = self._clock()
        # Known again when there is an answer.
        self._raw = None
        body = raw_of(raw or {}, record, self._timing)
        if raw is None:
            body["metadata"]["name"] = names.ORCHESTRATOR_NAME
            answer = await self._api.create(self._collection, body)
        else:
            answer = await self._api.replace(self._path, body)
        self._raw = answer
        self._standing = written(self._standing, record_of(answer), began=began, now=self._clock())

    def _pause_s(self, seconds: float) -> float:
        return seconds * (1 + (self._timing.jitter - 1) * self._random())


def record_of(raw: Raw) -> Record:
    """What a Lease says; what it does not say, or says as nobody writes it, is blank."""
    spec = raw.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        epoch=epoch_of(_epoch_said(raw)),
        renewed=str(spec.get("renewTime") or ""),
        acquired=str(spec.get("acquireTime") or ""),
        transitions=int(spec.get("leaseTransitions") or 0),
    )


def _epoch_said(raw: Raw) -> str:
    annotations = raw.get("metadata", {}).get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_EPOCH, ""))


def raw_of(raw: Raw, record: Record, timing: Timing) -> Raw:
    """The Lease `raw` with this record in it; what others have written on it stays."""
    metadata = dict(raw.get("metadata", {}))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.ANNOTATION_EPOCH: str(record.epoch)}
    spec = {
        **(raw.get("spec") or {}),
        "holderIdentity": record.holder,
        # For people, and other electors; who lets go asks nobody to wait.
        "leaseDurationSeconds": max(1, round(timing.duration_s)) if record.holder else 1,
        "leaseTransitions": record.transitions,
        "renewTime": record.renewed,
        "acquireTime": record.acquired or record.renewed,
    }
    return {"apiVersion": _VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}


def _timestamp(unix_ns: int) -> str:
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06}Z"
