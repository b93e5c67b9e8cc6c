"""Statuses as either definition of TrainedModel takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.trained_model import API_VERSIONS, Condition, ModelStatus
from orchestrator.platform.kube.status_form import read_status, status_patch
from tests.orchestrator.builders import statuses
from tests.orchestrator.platform.kube.support import FULL_STATUS
from tests.orchestrator.platform.schemas import problems

ROOT: Final = Path(__file__).resolve().parents[4]
OURS, KSERVES = API_VERSIONS
#: What KServe's definition, as published, keeps of a status.
KEPT: Final = {"url", "observedGeneration", "conditions", "annotations", "address"}

text = st.text("ab/: ", max_size=5)
conditions = st.builds(
    Condition,
    type=st.sampled_from(["Ready", "UpToDate"]),
    status=st.sampled_from(["True", "False", "Unknown"]),
    reason=text,
    message=text,
    last_transition_time=st.just("2026-01-01T00:00:00Z"),
)
STATUSES = statuses(text, conditions)


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        result[key] = merged(result.get(key), value)
    return {key: value for key, value in result.items() if value is not None}


@pytest.mark.parametrize("version", API_VERSIONS)
@given(before=STATUSES, after=STATUSES)
def test_a_patch_makes_it_exactly_this(version: str, before: ModelStatus, after: ModelStatus) -> None:
    """Whatever was there: what is not set any more is gone."""
    stored = merged(merged({}, status_patch(before, version)), status_patch(after, version))
    assert read_status(stored, version) == after


@given(status=STATUSES)
def test_kserves_definition_keeps_all_of_it(status: ModelStatus) -> None:
    """The last good revision must outlive the process that knew it; others' annotations stay."""
    stored = merged({"annotations": {"other": "x"}}, status_patch(status, KSERVES))
    assert stored.keys() <= KEPT
    assert all(isinstance(value, str) for value in stored["annotations"].values())
    assert stored["annotations"]["other"] == "x"


def test_our_definition_takes_all_of_it() -> None:
    """Every field of it is described there, so that none is dropped."""
    definition, *_ = yaml.safe_load_all((ROOT / "manifests/trainedmodel-crd.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    patch = status_patch(FULL_STATUS, OURS)
    assert None not in patch.values()
    assert not problems(version["schema"]["openAPIV3Schema"]["properties"]["status"], patch)


@pytest.mark.parametrize("raw", [None, "text", [], {"annotations": "text"}, {"annotations": None, "conditions": 3}])
def test_what_is_not_a_status_reads_as_empty(raw: Any) -> None:
    """It is only ever our own words that are read."""
    assert {read_status(raw, version) for version in API_VERSIONS} == {ModelStatus()}


def test_what_kubectl_shows() -> None:
    """NAME is kubectl's own; the other columns and their order are the contract's, and read what is written."""
    definition, *_ = yaml.safe_load_all((ROOT / "manifests/trainedmodel-crd.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    columns = [(c["name"].upper(), c.get("priority", 0)) for c in version["additionalPrinterColumns"]]
    assert columns == [("URL", 0), ("READY", 0), ("AGE", 0), ("RUNTIME", 1), ("REASON", 1), ("UPTODATE", 1)]
    written = {f".status.{name}" for name in status_patch(ModelStatus(), OURS)}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[")[0]
        assert path in written | {".metadata.creationTimestamp"}
    assert version["subresources"] == {"status": {}}
    assert definition["spec"]["names"]["shortNames"] == ["tm"]
