"""Settings: one JSON file each way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.settings import ControllerSettings, Settings, StandaloneSettings

CONTROLLER = ControllerSettings(
    directory="/models",
    state_dir="/state",
    namespace="wml-serving",
    supervisor="/state/run/supervisor.sock",
    control="unix:/state/run/control.sock",
    activator="127.0.0.1:9000",
    mesh_nodes=("envoy-0", "envoy-1"),
)


@pytest.mark.parametrize(
    "settings", [CONTROLLER, StandaloneSettings(directory="/models", state_dir="/state", recheck_s=1.5)]
)
def test_settings_survive_the_file(settings: Settings, tmp_path: Path) -> None:
    """`load` is the inverse of `dump`, tuples included; what a person reads ends with a newline."""
    file = tmp_path / "settings.json"
    file.write_text(settings.dump())
    assert type(settings).load(file) == settings
    assert settings.dump().endswith("}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ("[]", "missing settings directory, state_dir"),
        ("null", "missing settings directory, state_dir"),
        (json.dumps({"directory": "/x", "state_dir": "/y", "portt": 1}), "unknown settings portt"),
        (json.dumps({"directory": "/x"}), "missing settings state_dir"),
    ],
)
def test_a_file_that_is_none_is_a_value_error(text: str, said: str, tmp_path: Path) -> None:
    """Naming what is unknown or missing."""
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=said):
        StandaloneSettings.load(file)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    """The caller says which."""
    with pytest.raises(FileNotFoundError):
        StandaloneSettings.load(tmp_path / "none")
