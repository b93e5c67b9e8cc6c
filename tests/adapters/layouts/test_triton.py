"""Triton's layouts, case by case; those of ModelMesh's adapter are in test_triton_modelmesh.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from tests.adapters.layouts.laying import lay_triton as lay
from tests.adapters.layouts.laying import refuses_empty

CASES = {
    "onnxExternalData": ("onnx", ["net.onnx", "weights.bin"], ["1/model.onnx/model.onnx", "1/model.onnx/weights.bin"]),
    "labelsBesideAGraph": (
        "tensorflow",
        ["1/labels.txt", "1/model.graphdef"],
        ["1/labels.txt", "1/model.graphdef"],
    ),
    "labelsBesideASavedModel": (
        "tensorflow",
        ["1/labels.txt", "1/model.savedmodel/saved_model.pb"],
        ["1/labels.txt", "1/model.savedmodel/saved_model.pb"],
    ),
    "savedModelAsText": (
        "tensorflow",
        ["saved_model.pbtxt", "variables/index"],
        ["1/model.savedmodel/saved_model.pbtxt", "1/model.savedmodel/variables/index"],
    ),
    "filesBesideVersions": ("onnx", ["1/model.onnx", "readme.md"], ["1/model.onnx"]),
    "leadingZeroIsNoVersion": ("unknown", ["01/file", "1/file"], ["1/01/file", "1/1/file"]),
    "versionsCompareAsNumbers": ("onnx", ["10/model.onnx", "9/model.onnx"], ["10/model.onnx"]),
    "directoryAroundVersions": ("onnx", ["mnist/1/model.onnx", "mnist/2/model.onnx"], ["2/model.onnx"]),
    "directoryAroundConfig": ("onnx", ["mnist/1/model.onnx", "mnist/config.pbtxt"], ["1/model.onnx"]),
    "aDirectoryHasTheName": (
        "onnx",
        ["a.onnx", "model.onnx/model.onnx"],
        ["1/a.onnx", "1/model.onnx/model.onnx"],
    ),
    "configWithoutVersions": ("pytorch", ["config.pbtxt", "model.pt"], ["1/model.pt"]),
}


@pytest.mark.parametrize(("framework", "source", "expected"), CASES.values(), ids=CASES)
def test_layout(framework: str, source: list[str], expected: list[str]) -> None:
    """The files end up where Triton looks for them, each from one file of the source."""
    layout = lay(framework, *source)
    assert sorted(to for _, to in layout.moves) == sorted(expected)
    assert {origin for origin, _ in layout.moves} <= set(source)


EMPTY = {
    "file": ("onnx", ["mnist.onnx"], "mnist.onnx"),
    "fileOfAnyName": ("pytorch", ["mnist"], "mnist"),
    "fileOfTheVersion": ("onnx", ["1/model.onnx", "2/model.onnx"], "2/model.onnx"),
    "candidateOfADirectory": ("onnx", ["a.onnx", "weights"], "a.onnx"),
    "namedAsItShouldBe": ("onnx", ["1/a.onnx", "1/model.onnx"], "1/model.onnx"),
    "savedModel": (
        "tensorflow",
        ["model.savedmodel/saved_model.pb", "model.savedmodel/x"],
        "model.savedmodel/saved_model.pb",
    ),
    "configWithoutVersions": ("pytorch", ["config.pbtxt", "model.pt"], "model.pt"),
    "directoryAroundVersions": ("onnx", ["mnist/1/model.onnx", "mnist/2/model.onnx"], "mnist/2/model.onnx"),
}


@pytest.mark.parametrize(("framework", "source", "empty"), EMPTY.values(), ids=EMPTY)
def test_a_model_without_a_byte_is_none(framework: str, source: list[str], empty: str) -> None:
    """The server would say next to nothing of it. Another file may be empty, and so may what a user's own server takes."""
    refuses_empty(lay, framework, source, empty)


REFUSED = {
    "empty": ("onnx", [], "no files"),
    "twoCandidates": ("onnx", ["a.onnx", "b.onnx"], "2 files could be the model ('a.onnx', 'b.onnx')"),
    "onlyConfig": ("onnx", ["config.pbtxt"], "nothing but config.pbtxt"),
}


@pytest.mark.parametrize(("framework", "source", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_triton_cannot_load_is_refused_with_what_was_expected(
    framework: str, source: list[str], problem: str
) -> None:
    """Before the server sees it; the message has the URI, the problem and the remedy."""
    with pytest.raises(LoadFailure) as caught:
        lay(framework, *source)
    failure = caught.value.failure
    assert failure.reason is Reason.INVALID_MODEL_LAYOUT
    assert failure.message.startswith("s3://b/p: ")
    assert problem in failure.message
    assert "; expected " in failure.message


@pytest.mark.parametrize(
    ("framework", "source", "config"),
    [
        ("onnx", "model.onnx", 'backend: "onnxruntime"'),
        ("pytorch", "model.pt", 'backend: "pytorch"'),
        ("tensorrt", "model.plan", 'backend: "tensorrt"'),
        ("tensorflow", "model.graphdef", 'platform: "tensorflow_graphdef"'),
        ("tensorflow", "model.savedmodel/saved_model.pb", 'platform: "tensorflow_savedmodel"'),
    ],
)
def test_a_generated_config_names_the_backend_and_leaves_tensors_to_triton(
    framework: str, source: str, config: str
) -> None:
    """One instance, on whatever device the server has."""
    ((path, content),) = lay(framework, source).writes
    assert path == "config.pbtxt"
    assert config in content.decode()
    assert "count: 1" in content.decode()
    assert "kind" not in content.decode()
    assert "name" not in content.decode()


def test_an_unknown_framework_gets_no_config() -> None:
    """Whoever brings a runtime of his own knows what it needs."""
    assert lay("other", "a", "b").writes == ()


def test_a_native_config_stays_but_for_its_name() -> None:
    """The name in the server is the TrainedModel's."""
    layout = lay("onnx", "1/model.onnx", "config.pbtxt", config=b'name: "theirs"\nmax_batch_size: 4\n')
    ((path, content),) = layout.writes
    assert path == "config.pbtxt"
    assert b"theirs" not in content
    assert b"max_batch_size: 4" in content


def test_a_corrupt_native_config_is_refused_with_its_line() -> None:
    """Not passed on, not ignored."""
    with pytest.raises(LoadFailure, match=r"s3://b/p: config.pbtxt: line 2:"):
        lay("onnx", "1/model.onnx", "config.pbtxt", config=b'backend: "x"\ninput [ {')


NAMES = st.sampled_from(
    ["1", "2", "10", "a", "model.onnx", "model.savedmodel", "saved_model.pb", "model.pt", "x.onnx", "config.pbtxt"]
)


@given(
    framework=st.sampled_from(["onnx", "tensorflow", "pytorch", "tensorrt", "other"]),
    paths=st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=6),
)
def test_no_two_files_share_a_path_and_nothing_leaves_the_directory(framework: str, paths: set[str]) -> None:
    """Whatever the source, a layout is one tree: no path twice, none below a file."""
    source = {path for path in paths if not any(other.startswith(path + "/") for other in paths)}
    try:
        layout = lay(framework, *source)
    except LoadFailure:
        return
    made = layout.paths
    assert len(set(made)) == len(made)
    assert not any(b.startswith(a + "/") for a in made for b in made)
    assert len({origin for origin, _ in layout.moves}) == len(layout.moves)
