"""MLServer's layouts, case by case: the 12 of ModelMesh's adapter by their names, and ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.layouts.plan import Layout
from tests.adapters.layouts.laying import lay_mlserver as lay
from tests.adapters.layouts.laying import refuses_empty

Settings = dict[str, Any]


def settings_of(layout: Layout) -> Settings:
    ((path, content),) = layout.writes
    assert path == "model-settings.json"
    parsed: Settings = json.loads(content)
    return parsed


SKLEARN = "mlserver_sklearn.SKLearnModel"
XGBOOST = "mlserver_xgboost.XGBoostModel"
LIGHTGBM = "mlserver_lightgbm.LightGBMModel"

GENERATED = {
    "single-file": ("custom", ["some-file"], None, "model/some-file"),
    "dir-with-single-file": ("custom", ["somefile"], None, "model/somefile"),
    "dir-with-complex-structure": ("custom", ["data", "metadata", "somedir/a", "somedir/b"], None, "model"),
    "path-to-modelid-dir": ("custom", ["somefile"], None, "model/somefile"),
    # A TrainedModel names no schema: the object beside the model is not fetched.
    "schema-simple": ("xgboost", ["model.json"], XGBOOST, "model/model.json"),
    # Ours.
    "sklearn-file": ("sklearn", ["svm.joblib"], SKLEARN, "model/svm.joblib"),
    "xgboost-file-of-any-name": ("xgboost", ["mushroom"], XGBOOST, "model/mushroom"),
    "lightgbm-file": ("lightgbm", ["mushroom.bst"], LIGHTGBM, "model/mushroom.bst"),
    "framework-with-version": ("sklearn:1", ["model.joblib"], SKLEARN, "model/model.joblib"),
    "well-known-name-in-a-directory": ("sklearn", ["model.joblib", "notes.txt"], SKLEARN, "model"),
    "one-candidate-in-a-directory": ("sklearn", ["svm.pkl", "__init__.py", "a/b"], SKLEARN, "model/svm.pkl"),
    "one-candidate-below": ("lightgbm", ["data/x.bst", "readme.md"], LIGHTGBM, "model/data/x.bst"),
}


MODELMESH = frozenset(
    [
        "single-file",
        "dir-with-single-file",
        "dir-with-complex-structure",
        "dir-mlserver-layout",
        "path-to-modelid-dir",
        "sklearn-standard-native",
        "xgboost-standard-native",
        "xgboost-example",
        "mllib-standard",
        "schema-simple",
        "schema-overwrite-outputs",
        "model-filename-precedes-model-settings",
    ]
)


@pytest.mark.parametrize(("framework", "source", "implementation", "uri"), GENERATED.values(), ids=GENERATED)
def test_generated(framework: str, source: list[str], implementation: str | None, uri: str) -> None:
    """The settings name the framework's class and the absolute path; files keep their names below `model`."""
    layout = lay(framework, *source)
    settings = settings_of(layout)
    assert settings["name"] == "mine"
    assert settings.get("implementation") == implementation
    assert settings["parameters"] == {"uri": f"/repo/mine/{uri}"}
    assert [to for _, to in layout.moves] == [f"model/{path}" for path in sorted(source)]


NATIVE: dict[str, tuple[str, list[str], Settings, Settings]] = {
    "dir-mlserver-layout": ("custom", ["somefile", "somedir/data"], {}, {"name": "mine"}),
    "sklearn-standard-native": (
        "sklearn",
        ["model.joblib"],
        {"name": "my sklearn model", "implementation": SKLEARN},
        {"name": "mine", "implementation": SKLEARN},
    ),
    "xgboost-standard-native": (
        "xgboost",
        ["model.bst"],
        {"implementation": XGBOOST},
        {"name": "mine", "implementation": XGBOOST},
    ),
    # The version is dropped: MLServer replaces in place only what has none.
    "xgboost-example": (
        "xgboost",
        ["mushroom-xgboost.json"],
        {
            "name": "mushroom-xgboost",
            "implementation": XGBOOST,
            "parameters": {"uri": "./mushroom-xgboost.json", "version": "v0.1.0"},
        },
        {"name": "mine", "implementation": XGBOOST, "parameters": {"uri": "/repo/mine/mushroom-xgboost.json"}},
    ),
    "mllib-standard": ("mllib", ["data/some-files", "metadata/some-files"], {}, {"name": "mine"}),
    # A TrainedModel names no schema: what would be one is a file like any other, and the settings' own words count.
    "schema-overwrite-outputs": (
        "xgboost",
        ["_schema.json", "model.json"],
        {"name": "some-name", "outputs": [{"name": "OUTPUT", "datatype": "INT64", "shape": [1]}]},
        {
            "name": "mine",
            "implementation": XGBOOST,
            "outputs": [{"name": "OUTPUT", "datatype": "INT64", "shape": [1]}],
        },
    ),
    "model-filename-precedes-model-settings": (
        "sklearn",
        ["aaaaa.json"],
        {"name": "model-name", "implementation": SKLEARN, "parameters": {"uri": "./aaaaa.json"}},
        {"name": "mine", "implementation": SKLEARN, "parameters": {"uri": "/repo/mine/aaaaa.json"}},
    ),
    # Ours.
    "implementation-filled-in": ("sklearn", ["model.pkl"], {}, {"name": "mine", "implementation": SKLEARN}),
    "uri-of-a-directory": (
        "sklearn",
        ["sub/model.pkl"],
        {"parameters": {"uri": "sub/", "extra": {"a": 1}}},
        {"name": "mine", "implementation": SKLEARN, "parameters": {"uri": "/repo/mine/sub", "extra": {"a": 1}}},
    ),
    "inputs-stay": (
        "xgboost",
        ["model.json"],
        {"name": "x", "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 784]}]},
        {
            "name": "mine",
            "implementation": XGBOOST,
            "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 784]}],
        },
    ),
}


def test_every_case_of_modelmesh_is_here() -> None:
    """By its name."""
    assert GENERATED.keys() | NATIVE.keys() >= MODELMESH


@pytest.mark.parametrize("directory", ["", "wrapped/"])
@pytest.mark.parametrize(("framework", "source", "given", "expected"), NATIVE.values(), ids=NATIVE)
def test_native(framework: str, source: list[str], given: Settings, expected: Settings, directory: str) -> None:
    """The user's settings stay but for name, version and the URI's root, also one directory down."""
    paths = [directory + path for path in (*source, "model-settings.json")]
    layout = lay(framework, *paths, settings=given)
    assert settings_of(layout) == expected
    assert sorted(to for _, to in layout.moves) == sorted(source)


EMPTY = {
    "file": ("sklearn", ["svm.joblib"], "svm.joblib"),
    "file-of-any-name": ("xgboost", ["mushroom"], "mushroom"),
    "well-known-name": ("sklearn", ["model.joblib", "notes.txt"], "model.joblib"),
    "candidate": ("sklearn", ["svm.pkl", "notes.txt"], "svm.pkl"),
    "candidate-below": ("lightgbm", ["data/x.bst", "readme.md"], "data/x.bst"),
}


@pytest.mark.parametrize(("framework", "source", "empty"), EMPTY.values(), ids=EMPTY)
def test_a_model_without_a_byte_is_none(framework: str, source: list[str], empty: str) -> None:
    """The server would say next to nothing of it. Another file may be empty, and so may what a user's own server takes."""
    refuses_empty(lay, framework, source, empty)


REFUSED: dict[str, tuple[str, list[str], Settings | bytes, str]] = {
    "empty": ("sklearn", [], {}, "no files"),
    "not-json": ("sklearn", ["model-settings.json", "m.pkl"], b'{"name":\n oops}', "line 2, column 2"),
    "not-utf8": ("sklearn", ["model-settings.json", "m.pkl"], b"\xff\x00\xff", "not valid JSON"),
    "nested-too-deep": ("sklearn", ["model-settings.json", "m.pkl"], b"[" * 100_000, "not valid JSON"),
    "not-an-object": ("sklearn", ["model-settings.json", "m.pkl"], b"[]", "not an object"),
    "parameters": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": []}, "'parameters' is no object"),
    "uri-type": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": {"uri": 1}}, "is no string"),
    "uri-missing": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": {"uri": "x"}}, "there is 'm.pkl'"),
    "uri-absolute": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": {"uri": "/etc/passwd"}}, "/etc"),
    "uri-climbs": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": {"uri": "a/../../b"}}, "relative"),
    "uri-remote": ("sklearn", ["model-settings.json", "m.pkl"], {"parameters": {"uri": "s3://x/y"}}, "relative"),
    "nothing-beside": ("sklearn", ["model-settings.json"], {}, "nothing but model-settings.json"),
    "speaks-for-a-neighbour": (
        "sklearn",
        ["m.pkl", "sub/model-settings.json"],
        {"name": "neighbour"},
        "'sub/model-settings.json' is below the top",
    ),
    "settings-are-a-directory": (
        "sklearn",
        ["m.pkl", "model-settings.json/x"],
        {},
        "'model-settings.json/x' is below the top",
    ),
    "two-candidates": ("sklearn", ["a.pkl", "b.pkl"], {}, "2 files could be the model ('a.pkl', 'b.pkl')"),
    "no-candidate": ("xgboost", ["a.txt", "b.txt"], {}, "no file is the model ('a.txt', 'b.txt')"),
}


@pytest.mark.parametrize(("framework", "source", "settings", "problem"), REFUSED.values(), ids=REFUSED)
def test_refused(framework: str, source: list[str], settings: Settings | bytes, problem: str) -> None:
    """The message says what is wrong, where, and what was expected."""
    with pytest.raises(LoadFailure) as caught:
        lay(framework, *source, settings=settings)
    failure = caught.value.failure
    assert failure.reason is Reason.INVALID_MODEL_LAYOUT
    assert failure.message.startswith("s3://b/p: ")
    assert problem in failure.message
    assert "; expected " in failure.message
    assert len(failure.message) < 1024
