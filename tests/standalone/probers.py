"""
Trains models that say which model they are, and some with a particular shape.

Runs in the Python of `.runtimes/mlserver`. Prober n answers 100 n + digit, so
that a request which reached the wrong model is seen. All are one regression
whose class names differ; the probes are digits that it knows for sure.

usage: probers.py DIRECTORY COUNT

DIRECTORY then holds `probe-<n>.joblib` and `probe-<n>.onnx`, `padded-<n>.joblib`
(n < 3, 4 MiB each), `wide.joblib` (one number in, 64 out) and `probes.npz`
(`images`, `labels`).
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression

PADDING = 4 << 20
PROBES = 20


def renamed(model: Any, number: int) -> Any:
    """The same model, but its classes are 100 `number` + digit."""
    other = copy.copy(model)
    other.classes_ = model.classes_ + 100 * number
    return other


def train(directory: Path, count: int) -> None:
    """Write all of them."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.float32)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(images, labels)
    for number in range(count):
        prober = renamed(model, number)
        joblib.dump(prober, directory / f"probe-{number}.joblib")
        graph = to_onnx(
            prober, initial_types=[("digits", FloatTensorType([None, 64]))], options={id(prober): {"zipmap": False}}
        )
        (directory / f"probe-{number}.onnx").write_bytes(graph.SerializeToString())
    for number in range(3):
        padded = renamed(model, number)
        padded.padding_ = bytes(PADDING)
        joblib.dump(padded, directory / f"padded-{number}.joblib")
    numbers = np.arange(8, dtype=np.float32).reshape(-1, 1)
    joblib.dump(LinearRegression().fit(numbers, numbers @ np.ones((1, 64))), directory / "wide.joblib")
    certain = np.argsort(-model.predict_proba(images).max(axis=1))
    probes = [index for index in certain if model.predict(images[[index]])[0] == labels[index]]
    # Not all the same digit: the surest of each.
    chosen = [index for digit in range(10) for index in [i for i in probes if labels[i] == digit][: PROBES // 10]]
    np.savez(directory / "probes.npz", images=images[chosen], labels=labels[chosen])


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
