"""
Triton's layouts as ModelMesh's adapter made them: all cases of its tests, by their names.

What worked there works here. Where this product differs the table says why:
it refuses what Triton cannot load, it makes loadable what Triton could not,
and a TrainedModel names no schema.
"""

from __future__ import annotations

import pytest

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from tests.adapters.layouts.laying import lay_triton

#: The names there: kserve/modelmesh-runtime-adapter af7d500, model-mesh-triton-adapter/server/adaptmodellayout_test.go.
MODELMESH = frozenset(
    [
        "layoutFile",
        "layoutDirectoryWithSingleFile",
        "layoutDirectoryWithMultiFile",
        "layoutDirectoryWithSingleDirectory",
        "layoutDirectoryWithComplex",
        "layoutBackwardsCompatibilityComplex",
        "layoutVersionSingleFile",
        "layoutVersionSingleDir",
        "layoutVersionMultiFile",
        "layoutVersionMultiFile_2",
        "tensorflowEmpty",
        "tensorflowSavedModel",
        "tensorflowGraphDef",
        "tensorflowGraphDefForFile",
        "tensorflowSavedModelForDir",
        "tensorflowAllowSubdir_1",
        "tensorflowAllowSubdir_2",
        "tensorflowVersionDirWithFile",
        "tensorflowVersionDirWithDir",
        "tensorflowSubdirInVersionDir",
        "tensorflowAssumeModelDataIfNotAllVersionNumbers",
        "tensorflowSelectHighVersionSubdir_1",
        "tensorflowSelectHighVersionSubdir_2",
        "tensorflowSelectHighVersionSubdir_3",
        "tensorflowSavedModelWithConfig",
        "tensorflowFilesWithConfig",
        "tensorrtWithVersion",
        "tensorrtWithVersionRename",
        "tensorrtSimple",
        "tensorrtSubdir",
        "tensorrtSimpleMultifile",
        "tensorrtSubdirMultifile",
        "tensorrtUnexpected",
        "pytorchWithVersion",
        "pytorchSimpleRename",
        "onnxWithVersionFile",
        "onnxWithVersionDir",
        "onnxWithVersionDirMultifile",
        "onnxSimpleRename",
        "onnxMultifile",
        "onnxSimpleSubdir",
        "onnxSimpleSubdirMultifile",
        "schemaOnnxSimpleRename",
        "schemaBackwardsCompatiblity",
        "schemaPytorchSimple",
        "schemaTensorflowSavedModelSimple",
        "schemaOverwritesConfig",
        "schemaEdgeMaxBatchSize",
        "schemaEdgeMaxBatchSizeError",
    ]
)

CASES = {
    # A path to a file, a directory, a version.
    "layoutFile": ("unknown", ["model.data"], ["1/model.data"]),
    "layoutDirectoryWithSingleFile": ("unknown", ["data"], ["1/data"]),
    "layoutDirectoryWithMultiFile": ("unknown", ["data", "file"], ["1/data", "1/file"]),
    "layoutDirectoryWithSingleDirectory": ("unknown", ["subdir/1", "subdir/2"], ["1/subdir/1", "1/subdir/2"]),
    "layoutDirectoryWithComplex": (
        "unknown",
        ["file", "subdir1/data1", "subdir2/data2"],
        ["1/file", "1/subdir1/data1", "1/subdir2/data2"],
    ),
    "layoutBackwardsCompatibilityComplex": (
        "unknown",
        ["data/model.1", "data/model.2", "file", "meta.json"],
        ["1/data/model.1", "1/data/model.2", "1/file", "1/meta.json"],
    ),
    "layoutVersionSingleFile": ("unknown", ["1/file", "3/file"], ["3/file"]),
    "layoutVersionSingleDir": ("unknown", ["7/dir/file", "9/dir/file"], ["9/dir/file"]),
    "layoutVersionMultiFile": ("unknown", ["1/file", "2/file1", "2/file2"], ["2/file1", "2/file2"]),
    "layoutVersionMultiFile_2": ("unknown", ["file1", "file2"], ["1/file1", "1/file2"]),
    # TensorFlow.
    "tensorflowSavedModel": (
        "tensorflow",
        ["1/model.savedmodel/saved_model.pb"],
        ["1/model.savedmodel/saved_model.pb"],
    ),
    "tensorflowGraphDef": ("tensorflow", ["1/model.graphdef"], ["1/model.graphdef"]),
    "tensorflowGraphDefForFile": ("tensorflow", ["saved_model.pb"], ["1/model.graphdef"]),
    "tensorflowSavedModelForDir": (
        "tensorflow:1.5",
        ["saved_model.pb", "variables"],
        ["1/model.savedmodel/saved_model.pb", "1/model.savedmodel/variables"],
    ),
    "tensorflowAllowSubdir_1": (
        "tensorflow",
        ["saved_model/saved_model.pb", "saved_model/variables"],
        ["1/model.savedmodel/saved_model.pb", "1/model.savedmodel/variables"],
    ),
    "tensorflowAllowSubdir_2": (
        "tensorflow",
        ["model.savedmodel/saved_model.pb"],
        ["1/model.savedmodel/saved_model.pb"],
    ),
    "tensorflowVersionDirWithFile": ("tensorflow", ["1/saved_model.pb"], ["1/model.graphdef"]),
    "tensorflowVersionDirWithDir": (
        "tensorflow",
        ["2/saved_model.pb", "2/variables"],
        ["2/model.savedmodel/saved_model.pb", "2/model.savedmodel/variables"],
    ),
    "tensorflowSubdirInVersionDir": (
        "tensorflow",
        ["1/saved_model/saved_model.pb", "1/saved_model/variables"],
        ["1/model.savedmodel/saved_model.pb", "1/model.savedmodel/variables"],
    ),
    "tensorflowSelectHighVersionSubdir_1": (
        "tensorflow",
        [
            "1/model.savedmodel/saved_model.pb",
            "2/model.savedmodel/saved_model.pb",
            "5/model.savedmodel/saved_model.pb",
            "5/model.savedmodel/variables/index5",
        ],
        ["5/model.savedmodel/saved_model.pb", "5/model.savedmodel/variables/index5"],
    ),
    "tensorflowSelectHighVersionSubdir_3": (
        "tensorflow",
        ["2/model.savedmodel/saved_model.pb", "14/saved_model_14.pb"],
        ["14/model.graphdef"],
    ),
    "tensorflowSavedModelWithConfig": (
        "tensorflow",
        ["1/model.savedmodel/saved_model.pb", "config.pbtxt"],
        ["1/model.savedmodel/saved_model.pb"],
    ),
    "tensorflowFilesWithConfig": (
        "tensorflow",
        ["1/anything", "14/anything/at/all", "labels.txt", "config.pbtxt"],
        ["1/anything", "14/anything/at/all", "labels.txt"],
    ),
    # TensorRT.
    "tensorrtWithVersion": ("tensorRT", ["1/model.plan"], ["1/model.plan"]),
    "tensorrtWithVersionRename": ("tensorRT:2x", ["2/model_2.plan"], ["2/model.plan"]),
    "tensorrtSimple": ("tensorRT", ["model.plan"], ["1/model.plan"]),
    "tensorrtSubdir": ("tensorRT", ["myModel/model.plan"], ["1/model.plan"]),
    "tensorrtSimpleMultifile": ("tensorRT", ["model.plan", "unexpectedFile"], ["1/model.plan", "1/unexpectedFile"]),
    "tensorrtSubdirMultifile": (
        "tensorRT",
        ["myModel/model.plan", "myModel/unexpectedFile"],
        ["1/model.plan", "1/unexpectedFile"],
    ),
    # PyTorch.
    "pytorchWithVersion": ("PyTorch", ["1/model.pt"], ["1/model.pt"]),
    "pytorchSimpleRename": ("PyTorch", ["model.plan"], ["1/model.pt"]),
    # ONNX.
    "onnxWithVersionFile": ("onnx", ["1/model.onnx"], ["1/model.onnx"]),
    "onnxWithVersionDir": ("onnx", ["1/model.onnx/model.onnx"], ["1/model.onnx/model.onnx"]),
    "onnxWithVersionDirMultifile": (
        "onnx",
        ["1/model.onnx/model.onnx", "1/model.onnx/modelfile.txt"],
        ["1/model.onnx/model.onnx", "1/model.onnx/modelfile.txt"],
    ),
    "onnxSimpleRename": ("onnx", ["model.x"], ["1/model.onnx"]),
    "onnxSimpleSubdir": ("onnx", ["myModel/model.onnx"], ["1/model.onnx/model.onnx"]),
    "onnxSimpleSubdirMultifile": (
        "onnx",
        ["myModel/model.onnx", "myModel/variables"],
        ["1/model.onnx/model.onnx", "1/model.onnx/variables"],
    ),
}

NO_SCHEMA = "a TrainedModel names no schema: a file that would be one is a file of the model, or not read at all"
REFUSES = "Triton could not load it; ModelMesh passed it on"

#: Name → framework, source, paths of the model (or, as text, what the refusal says), why.
DIFFERENT: dict[str, tuple[str, list[str], list[str] | str, str]] = {
    "tensorflowEmpty": ("tensorflow", [], "no files", REFUSES),
    "tensorflowAssumeModelDataIfNotAllVersionNumbers": (
        "tensorflow",
        ["1/model.savedmodel/saved_model.pb", "NAN/model.savedmodel/saved_model.pb"],
        "'1/', 'NAN/'",
        REFUSES,
    ),
    "tensorflowSelectHighVersionSubdir_2": (
        "tensorflow",
        ["2/model.savedmodel/saved_model.pb", "14/saved_model_14.pb", "14/variables/index_14"],
        ["14/model.savedmodel/saved_model.pb", "14/model.savedmodel/variables/index_14"],
        "the only *.pb gets the name that TensorFlow looks for; ModelMesh left it",
    ),
    "tensorrtUnexpected": (
        "tensorRT",
        ["myModel/model.plan", "unexpectedDir/unexpectedFile"],
        "'myModel/', 'unexpectedDir/'",
        REFUSES,
    ),
    "onnxMultifile": ("onnx", ["model.x", "variables"], "'model.x', 'variables'", REFUSES),
    "schemaOnnxSimpleRename": ("onnx", ["my-model.onnx"], ["1/model.onnx"], NO_SCHEMA),
    "schemaBackwardsCompatiblity": (
        "onnx",
        ["_schema.json", "my-model.onnx"],
        ["1/model.onnx/_schema.json", "1/model.onnx/model.onnx"],
        NO_SCHEMA,
    ),
    "schemaPytorchSimple": ("pytorch", ["my-model.pt"], ["1/model.pt"], NO_SCHEMA),
    "schemaTensorflowSavedModelSimple": (
        "tensorflow",
        ["_schema.json", "saved_model.pb", "variables"],
        ["1/model.savedmodel/_schema.json", "1/model.savedmodel/saved_model.pb", "1/model.savedmodel/variables"],
        NO_SCHEMA,
    ),
    "schemaOverwritesConfig": (
        "tensorflow",
        ["1/model.graphdef", "_schema.json", "config.pbtxt", "some-other-file"],
        ["1/model.graphdef", "_schema.json", "some-other-file"],
        NO_SCHEMA,
    ),
    "schemaEdgeMaxBatchSize": (
        "pytorch",
        ["1/model.pt", "_schema.json", "config.pbtxt"],
        ["1/model.pt", "_schema.json"],
        NO_SCHEMA,
    ),
    "schemaEdgeMaxBatchSizeError": (
        "pytorch",
        ["1/model.pt", "_schema.json", "config.pbtxt"],
        ["1/model.pt", "_schema.json"],
        NO_SCHEMA,
    ),
}

#: Rules that ModelMesh had without a case, where this product has others.
RULES: dict[str, tuple[str, list[str], list[str] | str, str]] = {
    "kerasIsConverted": ("keras", ["mnist.h5"], ["1/mnist.h5"], "keras is no framework of a TrainedModel"),
    "unparsablePbtxtIsPassedOn": (
        "onnx",
        ["1/model.onnx", "config.pbtxt"],
        "config.pbtxt: line 2:",
        "Triton would refuse it without saying where",
    ),
}


def test_every_case_is_here_once() -> None:
    """By its name: as it was there, or on purpose not."""
    assert CASES.keys() | DIFFERENT.keys() == MODELMESH
    assert not CASES.keys() & DIFFERENT.keys()


@pytest.mark.parametrize(("framework", "source", "expected"), CASES.values(), ids=CASES)
def test_same(framework: str, source: list[str], expected: list[str]) -> None:
    """The files end up where Triton looks for them, each from one file of the source."""
    layout = lay_triton(framework, *source)
    assert sorted(to for _, to in layout.moves) == sorted(expected)
    assert {origin for origin, _ in layout.moves} <= set(source)


@pytest.mark.parametrize(("name", "case"), [*DIFFERENT.items(), *RULES.items()], ids=[*DIFFERENT, *RULES])
def test_different(name: str, case: tuple[str, list[str], list[str] | str, str]) -> None:
    """On purpose: refused with what was expected, or laid out another way; the user's own configuration stays."""
    framework, source, expected, _ = case
    config = b"max_batch_size: 100\ninput [ {" if name in RULES else b'name: "theirs"\nmax_batch_size: 100\n'
    if isinstance(expected, str):
        with pytest.raises(LoadFailure) as caught:
            lay_triton(framework, *source, config=config)
        assert caught.value.failure.reason is Reason.INVALID_MODEL_LAYOUT
        assert expected in caught.value.failure.message
        assert "; expected " in caught.value.failure.message
        return
    layout = lay_triton(framework, *source, config=config)
    assert sorted(to for _, to in layout.moves) == sorted(expected)
    if "config.pbtxt" in source:
        assert [content.strip() for _, content in layout.writes] == [b"max_batch_size: 100"]
