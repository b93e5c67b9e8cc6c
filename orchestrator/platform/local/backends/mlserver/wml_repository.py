"""
MLServer's view of its repository: one directory a model, named like the model.

MLServer's own parses every settings file below its root to find one model, so
that each load costs more the more models there are. The adapter's layout says
where a model's file is: a load reads that one. What is not a directory of that
name, or cannot be read, or carries another name is not found, with the same
error and log line as MLServer's own.

The index needs names and no settings, so `list` reads none: parsing a thousand
files would stop the server, which has one thread, for seconds. It is of no use
for loading models at the server's start, which is the adapter's business.

Runs inside MLServer, in whose environment nothing of ours is installed, and
needs nothing but MLServer: it is one file on PYTHONPATH, named by
MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION. Whoever starts the server brings it:
on one machine `launch`, with this directory as the path; beside an official
image, a mounted file. A server that is started without it works as well, only
slower with each model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from mlserver.errors import ModelNotFound
from mlserver.logging import logger
from mlserver.repository.load import load_model_settings
from mlserver.settings import ModelSettings

_SETTINGS: Final = "model-settings.json"


class OneDirectoryEach:
    """Implements MLServer's ModelRepository, which it does not insist on as a base."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)

    async def list(self) -> Sequence[Any]:
        """The name of every model, as settings that say nothing else."""
        return [ModelSettings.model_construct(name=name) for name in self._names()]

    async def find(self, name: str) -> Sequence[Any]:
        """The settings of one model. Raises ModelNotFound."""
        settings = self._read(name)
        if settings is None:
            raise ModelNotFound(name)
        return [settings]

    def _names(self) -> Sequence[str]:
        try:
            found = sorted(os.listdir(self._root))
        except OSError as error:
            logger.error("The model repository %s cannot be read: %s", self._root, error.strerror)
            return []
        return [name for name in found if os.path.isfile(self._path(name))]

    def _read(self, name: str) -> Any | None:
        path = self._path(name)
        if not os.path.isfile(path):
            return None
        try:
            settings = load_model_settings(path)
        except Exception:  # whatever a file may hold
            logger.exception("Failed load model settings at %s.", path)
            return None
        return settings if settings.name == name else None

    def _path(self, name: str) -> str:
        """Where its settings are; "" for a name that no model can have. Hidden directories are not MLServer's."""
        possible = name and not name.startswith(".") and os.sep not in name and "\0" not in name
        return os.path.join(self._root, name, _SETTINGS) if possible else ""
