"""
From the keys of a hostile store to a directory on disk: inside it, or refused.

Whatever the keys, no file is made outside of the model's directory, none takes
another's place, and no configuration is there but the one that was planned.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import Listing, StoredObject, files, paths
from adapters.layouts import mlserver, triton
from adapters.layouts.apply import lay_out
from adapters.layouts.plan import Planner, Target

PLANNERS: dict[str, tuple[Planner, str]] = {
    "onnx": (triton.plan, "onnx"),
    "tensorflow": (triton.plan, "tensorflow"),
    "pytorch": (triton.plan, "pytorch"),
    "triton": (triton.plan, "other"),
    "sklearn": (mlserver.plan, "sklearn"),
    "mlserver": (mlserver.plan, "other"),
}


def lay(planner: str, keys: list[str], root: Path) -> list[str]:
    """As an attempt does it, with the name of each key as its content; the files of the model's directory."""
    plan, framework = PLANNERS[planner]
    source, directory = root / "source", root / "model"
    source.mkdir()
    listing = Listing(objects=tuple(StoredObject(key=f"p/{key}", size=1, etag="e") for key in keys), single=False)
    found = paths(files(listing, "p", "s3://b/p"))
    for path in found:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("{}" if path.endswith(mlserver.SETTINGS) else f"# {path}")
    target = Target(name="m", framework=framework, directory=PurePosixPath("/repo/m"), uri="s3://b/p")
    lay_out(plan, source, found, directory, target)
    assert sorted(path.name for path in root.iterdir()) == ["model", "source"]
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


HOSTILE = {
    "climbs": ["m.onnx", "../escape"],
    "climbs-from-below": ["m.onnx", "a/../../escape"],
    "absolute": ["m.onnx", "/etc/passwd"],
    "dot": ["m.onnx", "./m.onnx"],
    "empty-segment": ["m.onnx", "a//b"],
    "nul": ["m.onnx", "a\0b"],
    "newline": ["m.onnx", "a\nb"],
    "escape-sequence": ["m.onnx", "\x1b[2J"],
    "surrogate": ["m.onnx", "\udcff"],
    "long-name": ["m.onnx", "x" * 256],
    "deep": ["m.onnx", "/".join("d" * 65)],
    "file-and-directory": ["m.onnx", "m.onnx/inside"],
    "twice": ["m.onnx", "m.onnx"],
}


@pytest.mark.parametrize("keys", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("planner", PLANNERS)
def test_refused(planner: str, keys: list[str], tmp_path: Path) -> None:
    """Before a byte is on the disk; the message shows the key in a form that a terminal can take."""
    with pytest.raises(LoadFailure) as caught:
        lay(planner, keys, tmp_path)
    failure = caught.value.failure
    assert failure.reason is Reason.INVALID_MODEL_LAYOUT
    assert failure.message.startswith("s3://b/p: object key 'p/")
    assert failure.message.isprintable()
    assert list((tmp_path / "source").iterdir()) == []


#: Odd, and harmless: name → planner, keys, what is laid out.
ODD: dict[str, tuple[str, list[str], list[str]]] = {
    "spaces-and-quotes": ("onnx", ["a 'b\" c.onnx"], ["1/model.onnx", "config.pbtxt"]),
    "backslash": ("onnx", ["..\\x.onnx"], ["1/model.onnx", "config.pbtxt"]),
    "dots-in-a-name": ("onnx", ["...onnx"], ["1/model.onnx", "config.pbtxt"]),
    # Two names for a person, two for the disk as well.
    "same-letters": (
        "triton",
        ["\u00fc", "u\u0308", "M", "m"],
        ["1/M", "1/m", "1/u\u0308", "1/\u00fc"],
    ),
    "versions-that-are-none": (
        "triton",
        ["+1/f", "-1/f", "0/f", "1e3/f", "\u0663/f", "1" * 30 + "/f"],
        ["1/+1/f", "1/-1/f", "1/0/f", "1/" + "1" * 30 + "/f", "1/1e3/f", "1/\u0663/f"],
    ),
    "config-is-a-directory": ("triton", ["config.pbtxt/x", "y"], ["1/config.pbtxt/x", "1/y"]),
    "config-is-a-directory-beside-ours": (
        "onnx",
        ["config.pbtxt/x", "model.onnx"],
        ["1/model.onnx/config.pbtxt/x", "1/model.onnx/model.onnx", "config.pbtxt"],
    ),
    "config-of-a-neighbour-below": (
        "onnx",
        ["1/config.pbtxt", "1/model.onnx"],
        ["1/model.onnx/config.pbtxt", "1/model.onnx/model.onnx", "config.pbtxt"],
    ),
    "model-is-called-as-its-directory": (
        "sklearn",
        ["model/model.joblib", "model/model/x"],
        ["model-settings.json", "model/model/model.joblib", "model/model/model/x"],
    ),
}


@pytest.mark.parametrize(("planner", "keys", "expected"), ODD.values(), ids=ODD)
def test_odd(planner: str, keys: list[str], expected: list[str], tmp_path: Path) -> None:
    """Laid out like any other."""
    assert lay(planner, keys, tmp_path) == sorted(expected)


SEGMENTS = st.sampled_from(
    [
        *("..", ".", "", "1", "2", "01", "model", "m", "model.onnx", "x.onnx", "saved_model.pb", "model.savedmodel"),
        *("model.joblib", "m.pkl", "config.pbtxt", "model-settings.json", "\u00fc", "a\0", " "),
    ]
)


@given(
    planner=st.sampled_from(sorted(PLANNERS)),
    keys=st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=5),
)
def test_inside_or_refused(planner: str, keys: list[str]) -> None:
    """Every file that is laid out is one of the source, or the configuration that is ours."""
    with tempfile.TemporaryDirectory() as root:
        try:
            made = lay(planner, keys, Path(root))
        except LoadFailure:
            return
        directory = Path(root) / "model"
        ours = {"config.pbtxt"} if PLANNERS[planner][0] is triton.plan else {"model-settings.json"}
        contents = [(directory / path).read_text() for path in made if path not in ours]
        assert len(set(contents)) == len(contents)
        if PLANNERS[planner][0] is mlserver.plan:
            assert list(directory.rglob("model-settings.json")) == [directory / "model-settings.json"]
            assert json.loads((directory / "model-settings.json").read_text())["name"] == "m"
