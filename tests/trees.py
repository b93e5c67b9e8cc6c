"""
What is below a directory in which others write: unlike `Path.rglob`, a walk does not mind what goes while it looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def below(root: Path) -> Iterator[Path]:
    """All that is there, directories too."""
    for parent, directories, files in os.walk(root):
        yield from (Path(parent, name) for name in (*directories, *files))


def files_below(root: Path) -> Iterator[Path]:
    """All that is there but for directories."""
    for parent, _, files in os.walk(root):
        yield from (Path(parent, name) for name in files)
