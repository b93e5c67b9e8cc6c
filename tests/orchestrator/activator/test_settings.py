"""The activator's settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.activator.budget import Budget
from orchestrator.activator.settings import ENVIRONMENT, ActivatorSettings, budget_bytes

WORKLOADS = Path(__file__).resolve().parents[3] / "manifests" / "workloads.yaml"

SETTINGS = ActivatorSettings(listen="unix:/a.sock", leader=("unix:/l.sock", "10.0.0.7:9000"), default_wait_s=1.5)


def test_settings_survive_the_file(tmp_path: Path) -> None:
    """All that may lead included."""
    file = tmp_path / "settings.json"
    file.write_text(SETTINGS.dump())
    assert ActivatorSettings.load(file) == SETTINGS


def test_the_bounds_fit_each_other() -> None:
    """The budget is divided as the documentation says; one model cannot take every place."""
    budget = Budget.divide(SETTINGS.max_bytes, largest=SETTINGS.max_message_bytes, max_line=SETTINGS.max_waiting)
    assert [pool.total >> 20 for pool in (budget.early, budget.requests, budget.responses)] == [32, 56, 40]
    assert SETTINGS.max_waiting_per_model < SETTINGS.max_waiting


@pytest.mark.parametrize("largest", [1, 16 << 20, 64 << 20, 200 << 20])
def test_a_budget_takes_the_largest_message_whatever_its_size(largest: int) -> None:
    """As many of it in each part as by default, or more."""
    budget = Budget.divide(budget_bytes(largest), largest=largest, max_line=1)
    assert budget.early.total >= 2 * largest
    assert budget.requests.total >= 3.5 * largest
    assert budget.responses.total >= 2.5 * largest


def test_the_manifests_start_it_in_its_environment() -> None:
    """In a cluster as on one machine."""
    items = yaml.safe_load(WORKLOADS.read_text())["items"]
    (pod,) = (item["spec"]["template"]["spec"] for item in items if item["metadata"]["name"] == "wml-serving-mesh")
    (activator,) = (each for each in pod["initContainers"] if each["name"] == "activator")
    assert {each["name"]: each["value"] for each in activator["env"]} == ENVIRONMENT
