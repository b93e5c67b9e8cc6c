"""
What makes a model server the product's, said through its environment wherever it runs.

Which of it a ServingRuntime may say otherwise is for each platform to decide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The onnxruntime of the package index reports models' names to its maker, and keeps a database in HOME, unless told.
TRITON: Final = {"ORT_DISABLE_TELEMETRY": "1"}

#: Where the modules of ours are that run inside MLServer, and that it has to find on its PYTHONPATH.
IN_MLSERVER: Final = Path(__file__).resolve().parent / "local" / "backends" / "mlserver"

#: Also on one machine a ServingRuntime may say otherwise.
MLSERVER: Final = {
    # A process for each worker multiplies the memory of every model.
    "MLSERVER_PARALLEL_WORKERS": "0",
    "MLSERVER_DEBUG": "false",
    # A class of IN_MLSERVER.
    "MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION": "wml_repository.OneDirectoryEach",
}


def placed_mlserver(grpc_port: int, directory: str) -> dict[str, str]:
    """An MLServer that takes gRPC at this port, writes to this directory alone, and loads what its adapter says."""
    return {
        "MLSERVER_GRPC_PORT": str(grpc_port),
        "MLSERVER_GRPC_MAX_MESSAGE_LENGTH": "-1",
        "MLSERVER_LOAD_MODELS_AT_STARTUP": "false",
        # Empty: no server and no port for metrics, and no files of theirs.
        "MLSERVER_METRICS_ENDPOINT": "",
        "MLSERVER_METRICS_DIR": f"{directory}/metrics",
        "MLSERVER_ENVIRONMENTS_DIR": f"{directory}/environments",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
