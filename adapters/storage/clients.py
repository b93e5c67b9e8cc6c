"""
S3 clients, kept for a while: one for each set of credentials.

A client is a connection pool and takes 50 ms to make, so the clients used last
stay open. A store's certificate is handed to the TLS library through anonymous
memory: credentials are never written to disk.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError

from adapters.domain.copies import Credentials, Reason
from adapters.domain.errors import LoadFailure
from adapters.storage.limits import StorageLimits
from adapters.storage.session import BoundedSession

_MAX_CLIENTS: Final = 16
_IDLE_S: Final = 120.0
#: Keeps the library from reading variables and files of the user who started the adapter (or failing for them): only
#: a store's credentials say how it is reached. In the library's form of "no variable, no file, no default".
_UNCONFIGURED: Final = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))


@dataclass(slots=True)
class _Kept:
    client: Any
    stack: AsyncExitStack
    users: int
    used: float


class Clients:
    """Opens, shares and closes clients. A client in use is never closed."""

    def __init__(self, limits: StorageLimits) -> None:
        self._options = {
            "connect_timeout": limits.connect_s,
            "read_timeout": limits.read_s,
            "retries": {"mode": "standard", "total_max_attempts": limits.attempts},
            # No bound here: listings and downloads have bounds, and a slow model must not block others of its store.
            "max_pool_connections": 0,
            # The library may leave the timer of `read_s` running on a connection that nobody uses. A connection that is
            # used after it has fired looks like a store that did not answer: none is kept that long.
            "connector_args": {"keepalive_timeout": limits.read_s / 3},
            "http_session_cls": partial(BoundedSession, limits.answer_bytes),
            "s3": {"addressing_style": "path"},
            # Checksums beyond the ETag are an AWS speciality that other stores reject.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        self._kept: dict[Credentials, _Kept] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def client(self, credentials: Credentials) -> AsyncIterator[Any]:
        """
        A client for these credentials.

        Raises LoadFailure (StorageConfigInvalid) when no client can be made with them.
        """
        async with self._opening:
            kept = self._kept.get(credentials)
            if kept is None:
                await self._close_idle()
                kept = await self._open(credentials)
                self._kept[credentials] = kept
            kept.users += 1
        try:
            yield kept.client
        finally:
            kept.users -= 1
            kept.used = time.monotonic()

    async def close(self) -> None:
        """Close all clients; none may be in use."""
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.stack.aclose()

    async def _close_idle(self) -> None:
        idle = sorted(
            (credentials for credentials, kept in self._kept.items() if kept.users == 0),
            key=lambda credentials: self._kept[credentials].used,
        )
        surplus = len(self._kept) - _MAX_CLIENTS + 1
        for position, credentials in enumerate(idle):
            if position < surplus or time.monotonic() - self._kept[credentials].used > _IDLE_S:
                await self._kept.pop(credentials).stack.aclose()

    async def _open(self, credentials: Credentials) -> _Kept:
        stack = AsyncExitStack()
        try:
            if "@" in urlsplit(credentials.endpoint_url).netloc:
                raise _invalid("endpoint_url must not hold a user or password")
            verify: str | None = None
            if credentials.certificate:
                verify = _in_memory(credentials.certificate, stack)
            client = await stack.enter_async_context(
                _session().client(
                    "s3",
                    endpoint_url=credentials.endpoint_url,
                    region_name=credentials.region or "us-east-1",
                    aws_access_key_id=credentials.access_key_id,
                    aws_secret_access_key=credentials.secret_access_key,
                    verify=verify,
                    config=AioConfig(**self._options),
                )
            )
        except (ValueError, BotoCoreError):
            await stack.aclose()
            # The library's error text may quote the credentials.
            raise _invalid("endpoint_url or region is not usable") from None
        except BaseException:
            await stack.aclose()
            raise
        return _Kept(client=client, stack=stack, users=0, used=time.monotonic())


@cache
def _session() -> Any:
    """One session for the process: it reads megabytes of service descriptions, and holds nothing of any store."""
    session = get_session(_UNCONFIGURED)
    # Objects' dates are not used, and parsing them is most of what a long listing costs.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    return aioboto3.Session(botocore_session=session)


def _in_memory(pem: str, stack: AsyncExitStack) -> str:
    """A path under which `pem` can be read as long as `stack` is open."""
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise _invalid("certificate is not a valid PEM") from None
    descriptor = os.memfd_create("certificate")
    stack.callback(os.close, descriptor)
    os.write(descriptor, pem.encode())
    return f"/proc/self/fd/{descriptor}"


def _invalid(problem: str) -> LoadFailure:
    return LoadFailure.because(Reason.STORAGE_CONFIG_INVALID, problem)
