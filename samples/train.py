"""
Trains the samples' models: four classifiers of scikit-learn's handwritten digits, one a framework.

Runs in the Python of `.runtimes/mlserver`, which has the libraries. Equal
inputs give equal models: nothing here is random but what `SEED` decides, and
no library uses more than one thread.

usage: train.py DIRECTORY

DIRECTORY then holds each model under the path that samples/*.yaml gives it,
and `digits.npz`: the `HELD_OUT` digits that no model has seen, as `images`
(FP32, one row of 64 pixels a digit) and `labels`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import xgboost
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

SEED = 7
HELD_OUT = 200
#: The input's name in the ONNX graph; MLServer takes any name for its models.
INPUT = "digits"


def sklearn_svm(path: Path, images: Any, labels: Any) -> None:
    """A support vector machine, pickled by joblib."""
    joblib.dump(SVC(gamma=0.001, random_state=SEED).fit(images, labels), path)


def xgboost_trees(path: Path, images: Any, labels: Any) -> None:
    """Boosted trees in xgboost's own JSON."""
    trees = xgboost.XGBClassifier(n_estimators=60, max_depth=4, n_jobs=1, random_state=SEED)
    trees.fit(images, labels)
    trees.save_model(path)


def lightgbm_trees(path: Path, images: Any, labels: Any) -> None:
    """Boosted trees in lightgbm's text format; they answer with the probability of each digit."""
    parameters = {
        **{"objective": "multiclass", "num_class": 10, "learning_rate": 0.15, "num_leaves": 15},
        **{"num_threads": 1, "seed": SEED, "deterministic": True, "force_row_wise": True, "verbosity": -1},
    }
    lightgbm.train(parameters, lightgbm.Dataset(images, labels), num_boost_round=60).save_model(path)


def onnx_regression(path: Path, images: Any, labels: Any) -> None:
    """A logistic regression as an ONNX graph: outputs `label` and `probabilities`, both plain tensors."""
    regression = make_pipeline(MinMaxScaler(), LogisticRegression(C=10.0, max_iter=1000, random_state=SEED))
    regression.fit(images, labels)
    graph = to_onnx(
        regression,
        initial_types=[(INPUT, FloatTensorType([None, images.shape[1]]))],
        # A "zipmap" is a list of dictionaries, which no tensor protocol can carry.
        options={id(regression): {"zipmap": False}},
    )
    path.write_bytes(graph.SerializeToString())


MODELS = {
    "sklearn/digits.joblib": sklearn_svm,
    "xgboost/digits.json": xgboost_trees,
    "lightgbm/digits.bst": lightgbm_trees,
    "onnx/digits.onnx": onnx_regression,
}


def train(directory: Path) -> None:
    """Write all models and the held-out digits into `directory`."""
    images, labels = load_digits(return_X_y=True)
    seen, held_out, seen_labels, held_out_labels = train_test_split(
        images.astype(np.float32), labels, test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    for name, fit in MODELS.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fit(path, seen, seen_labels)
        print(path)
    np.savez(directory / "digits.npz", images=held_out, labels=held_out_labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the samples' models.")
    parser.add_argument("directory", type=Path, help="where the models go")
    train(parser.parse_args().directory)
