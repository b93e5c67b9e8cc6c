"""README's section on a node of its own: each command as it stands there, on the node that the tests have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.product import KEY, Product
from tests.documents import section, typed
from tests.standalone.models import SAMPLES

ROOT: Final = Path(__file__).resolve().parents[2]
LINES: Final = typed(section((ROOT / "README.md").read_text(), "On a node of its own"))


@pytest.fixture
def demo(product: Product, tmp_path: Path) -> Path:
    """What .demo is after the section By hand."""
    for path in SAMPLES.values():
        target = tmp_path / "s3" / KEY / path
        target.parent.mkdir(parents=True)
        shutil.copy(product.models.file(path), target)
    (tmp_path / "models").mkdir()
    shutil.copy(product.models.file("digits.npz"), tmp_path / "models")
    return tmp_path


@contextmanager
def behind(line: str) -> Iterator[None]:
    """A command in the background, as an interactive shell starts it: in a group of its own."""
    process = subprocess.Popen(("sh", "-c", line.removesuffix("&")), cwd=ROOT, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def shell(line: str) -> str:
    """What a command printed, that has to succeed."""
    done = subprocess.run(("sh", "-c", line), cwd=ROOT, capture_output=True, text=True, check=False, timeout=320)
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_walkthrough_does_what_it_says(product: Product, demo: Path) -> None:
    """From a store that pods reach to a prediction; the node is up already, and stays for other tests."""
    up, store, *lines, down = (line.replace(".demo/", f"{demo}/") for line in LINES)
    # What they tell the node's program is in tests/test_make.py; opening.py, and test_lifecycle.py, tell it the same.
    assert (up, down) == ("make cluster", "make cluster-down")
    *lines, predict = lines
    try:
        with behind(store):
            for line in lines:
                shell(line)
            said = shell(predict.replace(" sklearn-digits", f" sklearn-digits --digits {demo}/models/digits.npz"))
    finally:
        product.cluster.delete("trainedmodel", "sklearn-digits", "lightgbm-digits")
        product.store_credentials()
    predicted, truth = (line.split()[1:] for line in said.splitlines()[-2:])
    assert sum(p == t for p, t in zip(predicted, truth, strict=True)) >= 18
