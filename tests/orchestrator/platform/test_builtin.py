"""The ServingRuntimes that come with the product."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Final

import pytest
import yaml

from orchestrator.platform import builtin as builtin_module
from orchestrator.platform.builtin import builtin_manifests, builtin_runtimes
from tests.orchestrator.platform.local.support import NAMESPACE, runtime_yaml
from tests.orchestrator.platform.schemas import problems

ROOT: Final = Path(__file__).resolve().parents[3]


def test_the_built_in_runtimes() -> None:
    """The contract's table of frameworks."""
    runtimes = builtin_runtimes(NAMESPACE)
    assert {
        "triton-2.x": {"tensorflow", "onnx", "tensorrt", "pytorch"},
        "mlserver-0.x": {"sklearn", "xgboost", "lightgbm"},
    } == {name: set(runtime.auto_select) for name, runtime in runtimes.items()}
    assert [runtimes[name].server_type for name in ("triton-2.x", "mlserver-0.x")] == ["triton", "mlserver"]
    assert {runtime.raw["metadata"]["namespace"] for runtime in runtimes.values()} == {NAMESPACE}
    # For KServe, too; that its definition takes them is in tests/cluster/test_beside_kserve.py.
    assert {runtime.raw["spec"]["multiModel"] for runtime in runtimes.values()} == {True}


@pytest.mark.parametrize("name", builtin_manifests())
def test_our_own_definition_takes_them(name: str) -> None:
    """As the API server checks it."""
    definition, *_ = yaml.safe_load_all((ROOT / "manifests/servingruntime-crd.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    assert not problems(version["schema"]["openAPIV3Schema"], builtin_manifests()[name])


def test_a_broken_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its runtimes, or with one that is wrong, nothing of it is used."""
    monkeypatch.setattr(builtin_module, "_DIRECTORY", tmp_path)
    with pytest.raises(RuntimeError, match=r"no \*\.yaml in .*incomplete"):
        builtin_runtimes(NAMESPACE)
    (tmp_path / "a.yaml").write_text(runtime_yaml("a"))
    assert builtin_runtimes(NAMESPACE).keys() == {"a"}
    for text, said in ((runtime_yaml("b", "torchserve"), "serverType"), ("- no\n", "b.yaml"), ("a: [", "b.yaml")):
        (tmp_path / "b.yaml").write_text(text)
        with pytest.raises(RuntimeError, match=said):
            builtin_runtimes(NAMESPACE)


def test_what_comes_with_the_package_is_declared() -> None:
    """Else a wheel would be without them."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert "platform/runtimes/*.yaml" in parser["options.package_data"]["orchestrator"].split()
