"""The ServingRuntimes that come with the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.platform.local import builtin as builtin_module
from orchestrator.platform.local.builtin import builtin_manifests, builtin_runtimes
from orchestrator.platform.local.manifests import parse_file
from tests.orchestrator.platform.local.support import NAMESPACE, runtime_yaml


def test_the_built_in_runtimes() -> None:
    """The contract's table of frameworks; no file of ours is wrong."""
    runtimes = builtin_runtimes(NAMESPACE)
    assert {
        "triton-2.x": {"tensorflow", "onnx", "tensorrt", "pytorch"},
        "mlserver-0.x": {"sklearn", "xgboost", "lightgbm"},
    } == {name: set(runtime.auto_select) for name, runtime in runtimes.items()}
    assert [runtimes[name].server_type for name in ("triton-2.x", "mlserver-0.x")] == ["triton", "mlserver"]
    for path in builtin_manifests().glob("*.yaml"):
        parsed = parse_file(path.name, path.read_bytes(), NAMESPACE)
        assert not [problem for problem in parsed.problems if not problem.ignored]


def test_a_broken_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its manifests, or with one that is wrong, nothing of it is used."""
    monkeypatch.setattr(builtin_module, "_CHECKOUT", tmp_path)
    (tmp_path / "other.yaml").write_text(runtime_yaml("not-a-built-in"))
    with pytest.raises(RuntimeError, match=r"no runtime-\*\.yaml in .*incomplete"):
        builtin_runtimes(NAMESPACE)
    (tmp_path / "runtime-a.yaml").write_text(runtime_yaml("a"))
    assert builtin_runtimes(NAMESPACE).keys() == {"a"}
    (tmp_path / "runtime-b.yaml").write_text(runtime_yaml("b", "torchserve"))
    with pytest.raises(RuntimeError, match=r"runtime-b\.yaml:5: .*serverType"):
        builtin_runtimes(NAMESPACE)


def test_an_installed_wheel_brings_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no checkout they are among the environment's data."""
    monkeypatch.setattr(builtin_module, "_CHECKOUT", tmp_path / "none")
    assert builtin_manifests().parts[-3:] == ("share", "wml-serving", "manifests")
