"""
Who this process is to its peers: a certificate, its key, and whom it trusts.

An identity changes while the process runs, and nobody tells a file's readers:
who holds a connection asks `changed`, who takes one asks `current` each time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

log = structlog.get_logger(__name__)

#: The roles: DNS names in certificates, and nothing that a resolver knows.
ORCHESTRATOR: Final = "orchestrator"
MESH: Final = "mesh"
ADAPTER: Final = "adapter"
ROLES: Final = (ORCHESTRATOR, MESH, ADAPTER)

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
AUTHORITIES_FILE: Final = "ca.crt"


@dataclass(frozen=True, slots=True)
class Identity:
    """All as PEM; the authorities are one or more certificates."""

    certificate: bytes
    key: bytes = field(repr=False)
    authorities: bytes


class Identities(Protocol):
    """Where the identity comes from. `current` is called from gRPC's threads, too."""

    def current(self) -> Identity:
        """The identity of now."""

    async def changed(self, since: Identity) -> None:
        """Return once `current` is another than that."""


class IdentityFiles:
    """
    An identity that a kubelet keeps in a directory.

    Law: what is given was whole. Files that do not fit together, as while they
    are being written, leave the identity as it was.
    """

    def __init__(self, directory: Path, *, poll_s: float = 10.0) -> None:
        """Raises OSError where there is no identity yet (ssl.SSLError where the files are none)."""
        self._directory = str(directory)
        self._paths = tuple(directory / name for name in (CERTIFICATE_FILE, KEY_FILE, AUTHORITIES_FILE))
        self._poll_s = poll_s
        #: What the files looked like when they were read last, and the last that was whole.
        self._seen = self._look()
        self._identity = self._read()
        self._problem = ""

    def current(self) -> Identity:
        """What the files say, or the last that they said."""
        try:
            look = self._look()
            if look != self._seen:
                identity = self._read()
                if self._look() == look:
                    self._seen, self._identity, self._problem = look, identity, ""
                    log.info("identity_read", directory=self._directory)
        except OSError as error:
            # The library's words are about structure: nothing of the files is in them.
            if self._problem != str(error):
                self._problem = str(error)
                log.warning("identity_unreadable", directory=self._directory, error=self._problem)
        return self._identity

    async def changed(self, since: Identity) -> None:
        """Looks again and again: a directory under a kubelet's symbolic link cannot be relied on to say so."""
        for pause in itertools.repeat(self._poll_s):
            if self.current() != since:
                return
            await asyncio.sleep(pause)

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stats = [os.stat(path) for path in self._paths]
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in stats)

    def _read(self) -> Identity:
        certificate, key, authorities = self._paths
        check = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        check.load_cert_chain(certificate, key)
        check.load_verify_locations(authorities)
        return Identity(certificate.read_bytes(), key.read_bytes(), authorities.read_bytes())
