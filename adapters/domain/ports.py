"""
What loading needs of the world, as Protocols.

Storage and the servers implement them; tests may bring their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from adapters.domain.copies import Credentials, Source
from adapters.domain.objects import Listing, RemoteFile


class ModelStore(Protocol):
    """Where models come from."""

    async def list(self, source: Source, credentials: Credentials) -> Listing:
        """The objects of a source. Raises LoadFailure."""

    async def download(
        self,
        source: Source,
        credentials: Credentials,
        files: Sequence[RemoteFile],
        into: Path,
        patience_s: float,
    ) -> None:
        """
        Write the files below `into`; at whatever pace within `patience_s`.

        Raises LoadFailure, SourceChanged.
        """


class ModelServer(Protocol):
    """
    The model server's repository API.

    Every call may raise ServerError: refused, silent, gone.
    """

    async def load(self, model: str, timeout_s: float) -> None:
        """Load, or load again, what the repository has under this name; return when it serves."""

    async def unload(self, model: str, timeout_s: float) -> None:
        """Return when the server proves to have nothing of the model; unknown ones are no error."""

    async def is_loaded(self, model: str) -> bool:
        """Whether a request sent now would be served."""

    async def loaded_models(self) -> frozenset[str]:
        """Every model of which the server has something in memory."""

    async def ailing(self) -> str:
        """Return a model that may have broken while it was loaded: `is_loaded` tells. Raises nothing; may take for ever."""
