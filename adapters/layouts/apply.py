"""
The shell of the layouts: reads the files that a planner needs, and moves files by its layout.

Everything happens in one staging directory on the repository's file system, so
that the model's directory is complete before the server can see it. The
functions block: call them in a thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from adapters.layouts.mlserver import SETTINGS
from adapters.layouts.plan import MAX_CONFIG_BYTES, Layout, ModelFiles, Planner, Target, invalid
from adapters.layouts.triton import CONFIG

_CONFIGS: Final = frozenset({SETTINGS, CONFIG})


def read(source: Path, paths: tuple[str, ...], target: Target) -> ModelFiles:
    """The facts that planners need about the files below `source`."""
    configs: dict[str, bytes] = {}
    for path in paths:
        if path.rsplit("/", 1)[-1] in _CONFIGS and path.count("/") <= 1:
            if (source / path).stat().st_size > MAX_CONFIG_BYTES:
                raise invalid(target, f"{path} is larger than {MAX_CONFIG_BYTES} bytes", "a configuration file")
            configs[path] = (source / path).read_bytes()
    empty = frozenset(path for path in paths if not (source / path).stat().st_size)
    return ModelFiles(paths=paths, configs=configs, empty=empty)


def apply(layout: Layout, source: Path, directory: Path) -> None:
    """Create `directory` by moving files from below `source`."""
    directory.mkdir()
    for origin, path in layout.moves:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        os.rename(source / origin, directory / path)
    for path, content in layout.writes:
        (directory / path).write_bytes(content)


def lay_out(planner: Planner, source: Path, paths: tuple[str, ...], directory: Path, target: Target) -> Layout:
    """Read, plan, apply."""
    layout = planner(read(source, paths, target), target)
    apply(layout, source, directory)
    return layout
