"""
The trained models of a test session: the samples' four, and probers.

Trained once a session, in the Python that has the libraries.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

_ROOT: Final = Path(__file__).resolve().parents[2]
_PYTHON: Final = _ROOT / ".runtimes" / "mlserver" / "bin" / "python"

BUCKET: Final = "models"
PROBERS: Final = 20
#: Framework → where the sample is.
SAMPLES: Final = {
    "sklearn": "sklearn/digits.joblib",
    "xgboost": "xgboost/digits.json",
    "lightgbm": "lightgbm/digits.bst",
    "onnx": "onnx/digits.onnx",
}

Images = NDArray[np.float32]
Labels = NDArray[Any]


class Puts(Protocol):
    """An S3 server of the tests, wherever it runs."""

    def put(self, uri: str, content: bytes | Path) -> str: ...


@dataclass(frozen=True, slots=True)
class Models:
    """Files, and the digits to ask about."""

    directory: Path
    #: Digits that no sample has seen, one row of 64 pixels each, and what they are.
    images: Images
    labels: Labels
    #: Digits that every prober knows: prober n answers 100 n + label.
    probes: Images
    probe_labels: Labels

    def upload(self, store: Puts) -> None:
        """Put everything into the bucket, under the names that it has here."""
        for path in sorted(self.directory.rglob("*.*")):
            store.put(self.uri(path.relative_to(self.directory).as_posix()), path)

    def uri(self, name: str) -> str:
        """Where `upload` puts the file."""
        return f"s3://{BUCKET}/{name}"

    def sample(self, framework: str) -> str:
        """The sample's URI."""
        return self.uri(SAMPLES[framework])

    def file(self, name: str) -> Path:
        """The file on disk."""
        return self.directory / name


def trained(directory: Path) -> Models:
    """Train them into `directory`."""
    for script, *arguments in (("samples/train.py",), ("tests/standalone/probers.py", str(PROBERS))):
        command = [str(_PYTHON), str(_ROOT / script), str(directory), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"
    with np.load(directory / "digits.npz") as digits, np.load(directory / "probes.npz") as probes:
        return Models(directory, digits["images"], digits["labels"], probes["images"], probes["labels"])
