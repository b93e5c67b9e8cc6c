"""
The stores and servers that loading needs, as Protocols.

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
        Write the files below `into`. Within `patience_s` any pace will do; after that a slow download fails.

        Raises LoadFailure, SourceChanged.
        """


class ModelServer(Protocol):
    """
    The model server's repository API.

    Every call may raise ServerError: refused, silent, gone.
    """

    async def load(self, model: str, timeout_s: float) -> None:
        """Load, or load again, the files that the repository has under this name; return when the model serves."""

    async def unload(self, model: str, timeout_s: float) -> None:
        """Return when the server proves to have nothing of the model; an unknown model is no error."""

    async def is_loaded(self, model: str) -> bool:
        """Whether a request sent now would be served."""

    async def loaded_models(self) -> frozenset[str]:
        """Every model that takes memory in the server."""

    async def ailing(self) -> str:
        """Wait for a loaded model that may have broken; return it: `is_loaded` tells whether it has. Never raises."""
