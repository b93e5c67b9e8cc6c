"""
Brings what of ours runs inside MLServer into a pod whose server image knows nothing of us.

    python -m orchestrator.platform.kube.provide DIRECTORY

An init container runs it: the directory is a volume that the server has on its
PYTHONPATH. A ConfigMap would do as well, and would be one more object to keep
in step with the image that it comes from.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from orchestrator.platform.server_environment import IN_MLSERVER


def provide(directory: Path) -> None:
    """Raises OSError."""
    for path in sorted(IN_MLSERVER.glob("*.py")):
        shutil.copyfile(path, directory / path.name)


if __name__ == "__main__":
    provide(Path(sys.argv[1]))
