"""
Identities for tests: made by the authorities that make the real ones, held in memory or in a kubelet's directory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.platform.kube.certificates import make_authority, make_leaf
from orchestrator.transport.identity import Identity


class Authority:
    """Signs, as of now."""

    def __init__(self) -> None:
        self._pair = make_authority(datetime.now(UTC), os.urandom)
        self.certificate = self._pair.certificate

    def identity(self, role: str, *trusted: Authority) -> Identity:
        """A new one for that role, which trusts this authority, or those that are named."""
        leaf = make_leaf(self._pair, role, datetime.now(UTC), os.urandom)
        return Identity(leaf.certificate, leaf.key, b"".join(a.certificate for a in trusted or (self,)))


class Held:
    """Identities that a test changes."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._followed = identity
        self._news = asyncio.Condition()
        #: How often it was asked for: at each attempt at a peer.
        self.asked = 0

    def current(self) -> Identity:
        self.asked += 1
        return self._identity

    async def changed(self, since: Identity) -> None:
        async with self._news:
            self._followed = since
            self._news.notify_all()
            await self._news.wait_for(lambda: self._identity != since)

    async def taken(self) -> None:
        """Return once who follows it is connected with the present one."""
        async with self._news:
            await self._news.wait_for(lambda: self._followed == self._identity)

    async def become(self, identity: Identity) -> None:
        self._identity = identity
        async with self._news:
            self._news.notify_all()


def mount(directory: Path, identity: Identity) -> None:
    """Put it into the directory as a kubelet does: one rename of a symbolic link, which all files are behind."""
    directory.mkdir(exist_ok=True)
    generation = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    (generation / "tls.crt").write_bytes(identity.certificate)
    (generation / "tls.key").write_bytes(identity.key)
    (generation / "ca.crt").write_bytes(identity.authorities)
    data, before = directory / "..data", None
    if data.is_symlink():
        before = data.resolve()
    fresh = directory / "..data_tmp"
    fresh.symlink_to(generation.name)
    fresh.rename(data)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    if before is not None:
        shutil.rmtree(before)
