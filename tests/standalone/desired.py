"""
The directory of YAML that a stack is told by.

Documents are applied one a file, by rename, so that none is ever read half
written.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.standalone.manifests import Document, storage_config


class DesiredState:
    """What a user edits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._keys: dict[str, str | dict[str, str]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def apply(self, *documents: Document, file: str | None = None) -> None:
        """Write each document into a file of its own, or all into `file`."""
        if file is not None:
            self.write(file, yaml.safe_dump_all(documents))
            return
        for document in documents:
            self.write(_file_of(document), yaml.safe_dump(document))

    def write(self, file: str, text: str) -> None:
        """Replace a file by rename."""
        draft = self.directory / f".{file}.draft"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.directory / file)

    def remove(self, file: str) -> None:
        """Remove a file."""
        (self.directory / file).unlink()

    def delete(self, *names: str) -> None:
        """Remove the files of these TrainedModels, if they are there."""
        for name in names:
            (self.directory / f"trainedmodel-{name}.yaml").unlink(missing_ok=True)

    def secret(self, **keys: str | dict[str, str] | None) -> None:
        """Set keys of Secret storage-config, None takes one away; text is kept as it is."""
        for key, value in keys.items():
            if value is None:
                self._keys.pop(key, None)
            else:
                self._keys[key] = value
        self.apply(storage_config(self._keys))

    def drop_secret(self) -> None:
        """Remove the Secret; `secret()` brings it back as it was."""
        self.remove("secret-storage-config.yaml")


def _file_of(document: Document) -> str:
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"
