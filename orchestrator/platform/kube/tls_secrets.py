"""
Keeps the Secrets of mutual TLS, and this process's own identity, which comes from one of them.

Every write is a compare-and-swap or the creation of what is not there: of two
replicas that begin at once one makes the authority, and the other reads it.
Whoever has no identity that it could use writes, so that a first start waits
for no leader; renewals are the leader's alone, so that two clocks do not argue.

The identity is held in memory; no file has the key of an orchestrator.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from random import random
from typing import Final, Never

import structlog

from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.kube.api import ApiError, ApiUnreachable, KubeApi, Raw
from orchestrator.platform.kube.certificates import Entropy, read
from orchestrator.platform.kube.names import CA_SECRET, LABEL_MANAGED_BY, LABEL_NAME, PRODUCT, TLS_SECRETS
from orchestrator.platform.kube.paths import core
from orchestrator.platform.kube.tls_plan import Data, Write, identity, plan
from orchestrator.transport.identity import CERTIFICATE_FILE, Identity

log = structlog.get_logger(__name__)

#: Often enough for what is measured in days, and for a Secret that was deleted.
CHECK_S: Final = 60.0
#: Of passes that met another writer's work in the middle.
_TURNS: Final = 5


class Overtaken(Exception):
    """Somebody else wrote: what was planned is of the past."""


class TlsSecrets:
    """The identity of one role, as transport's Identities; `begin` before anything else."""

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        role: str,
        *,
        leads: Callable[[], bool],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Entropy = secrets.token_bytes,
        check_s: float = CHECK_S,
        on_expiry: Callable[[str, float], None] = lambda role, unix_s: None,
    ) -> None:
        """`leads` says whether this process may renew; `on_expiry` is told until when what is stored is good."""
        self._api = api
        self._namespace = namespace
        self._role = role
        self._leads = leads
        self._now = now
        self._entropy = entropy
        self._check_s = check_s
        self._on_expiry = on_expiry
        self._identity: Identity | None = None
        self._news = asyncio.Condition()
        #: What the last checks in a row came to, and how many they were; "" and 0 since one that went well.
        self._problem = ""
        self._problems = 0

    async def begin(self) -> None:
        """Return once there is an identity, however long the API server takes."""
        backoff = Backoff(0.2, 5.0, random)
        while True:
            await self.check()
            if self._identity is not None:
                return
            await asyncio.sleep(backoff.next())

    async def run(self) -> Never:
        """Check again and again until cancelled."""
        backoff = Backoff(self._check_s / 60, self._check_s, random)
        while True:
            if await self.check():
                backoff.reset()
                await asyncio.sleep(self._check_s)
            else:
                await asyncio.sleep(backoff.next())

    def current(self) -> Identity:
        if self._identity is None:
            raise RuntimeError("there is no identity before begin() has returned")
        return self._identity

    async def changed(self, since: Identity) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self.current() != since)

    async def check(self) -> bool:
        """One pass, again where it was overtaken; whether it came to its end."""
        try:
            for _ in range(_TURNS):
                try:
                    whole = await self._pass()
                    self._went_well()
                    return whole
                except Overtaken as overtaken:
                    log.info("tls_overtaken", secret=str(overtaken))
        except (ApiError, ApiUnreachable) as error:
            self._failed(str(error))
        return False

    def _failed(self, problem: str) -> None:
        """Said when it is another, and after twice as many each time: an API server may be away for hours."""
        self._problems = self._problems + 1 if problem == self._problem else 1
        self._problem = problem
        if self._problems & (self._problems - 1) == 0:
            log.warning("tls_check_failed", namespace=self._namespace, error=problem, in_a_row=self._problems)

    def _went_well(self) -> None:
        if self._problem:
            log.info("tls_check_restored", namespace=self._namespace)
        self._problem, self._problems = "", 0

    async def _pass(self) -> bool:
        raw = {name: await self._get(name) for name in (CA_SECRET, *TLS_SECRETS.values())}
        stored = {name: data(found) for name, found in raw.items() if found is not None}
        now = self._now()
        whole = True
        mine = TLS_SECRETS[self._role]
        if self._leads() or identity(stored.get(mine, {}), self._role, now) is None:
            for write in plan(stored, now, self._entropy):
                try:
                    await self._write(write, raw[write.name])
                    stored[write.name] = write.data
                except ApiError as error:
                    # The leaves do without each other, none without its authority.
                    log.warning("tls_secret_refused", secret=write.name, error=str(error))
                    whole = False
                    if write.name == CA_SECRET:
                        break
        for role, name in {"ca": CA_SECRET, **TLS_SECRETS}.items():
            if (certificate := read(stored.get(name, {}).get(CERTIFICATE_FILE, b""))) is not None:
                self._on_expiry(role, certificate.until.timestamp())
        await self._become(identity(stored.get(mine, {}), self._role, now))
        return whole and self._identity is not None

    async def _become(self, found: Identity | None) -> None:
        if found is None or found == self._identity:
            # Without one that could be used, the last is as good as any.
            return
        async with self._news:
            self._identity = found
            self._news.notify_all()
        log.info("identity_read", role=self._role)

    async def _get(self, name: str) -> Raw | None:
        try:
            return await self._api.get(core("secrets", self._namespace, name))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _write(self, write: Write, found: Raw | None) -> None:
        try:
            if found is None:
                await self._api.create(core("secrets", self._namespace), new(write))
            else:
                await self._api.replace(core("secrets", self._namespace, write.name), replaced(found, write))
        except ApiError as error:
            # Made, changed or deleted by somebody else meanwhile.
            if error.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise Overtaken(write.name) from None
            raise
        log.info("tls_secret_written", secret=write.name, reason=write.reason)


def data(found: Raw) -> Data:
    """A Secret's data; what is no base64 is not there."""
    made: dict[str, bytes] = {}
    for name, value in (found.get("data") or {}).items():
        try:
            made[name] = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            continue
    return made


def new(write: Write) -> Raw:
    """The Secret as it is created."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": write.name, "labels": {LABEL_NAME: PRODUCT, LABEL_MANAGED_BY: PRODUCT}},
        "type": "kubernetes.io/tls",
        "data": _encoded(write.data),
    }


def replaced(found: Raw, write: Write) -> Raw:
    """The Secret as it is replaced: with its version, and all that is not ours as it was."""
    return {**found, "data": {**(found.get("data") or {}), **_encoded(write.data)}}


def _encoded(content: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode("ascii") for name, value in content.items()}
