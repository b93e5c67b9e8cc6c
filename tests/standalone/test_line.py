"""
The line: from a TrainedModel file to a prediction, and what a user sees on the way.
"""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.standalone.client import Client
from tests.standalone.models import SAMPLES, Models
from tests.standalone.servers import runtime_of
from tests.standalone.stack import Stack

FRAMEWORKS = sorted(SAMPLES)


@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "message"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_model_predicts_the_digits_that_it_has_not_seen(
    line: dict[str, str], client: Client, models: Models, framework: str, metadata: bool
) -> None:
    """Each framework: 95 % of 200 digits are right, the model named in metadata or in the message."""
    parts = [
        client.classes(line[framework], models.images[first : first + 20], metadata=metadata)
        for first in range(0, 200, 20)
    ]
    assert np.mean(np.concatenate(parts) == models.labels) >= 0.95


def test_table_is_kubectls(line: dict[str, str], shared: Stack, tmp_path: Path) -> None:
    """`get trainedmodels` prints NAME URL READY AGE from any working directory."""
    done = shared.run("get", "trainedmodels", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = (row.split() for row in done.stdout.splitlines())
    assert header == ["NAME", "URL", "READY", "AGE"]
    by_name = {row[0]: row[1:] for row in rows}
    for name in line.values():
        url, ready, age = by_name[name]
        assert (url, ready) == (f"grpc://wml-serving:8033?mm-vmodel-id={name}", "True")
        assert re.fullmatch(r"\d+[smh]\S*", age)


def test_wide_table_has_runtime_reason_and_live_state(line: dict[str, str], shared: Stack) -> None:
    """`-o wide` adds RUNTIME, REASON and UPTODATE, and how many copies there are now."""
    done = shared.run("get", "trainedmodels", "-o", "wide")
    header, *rows = (row.split() for row in done.stdout.splitlines())
    assert header[:7] == ["NAME", "URL", "READY", "AGE", "RUNTIME", "REASON", "UPTODATE"]
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    for framework, name in line.items():
        row = by_name[name]
        assert row["RUNTIME"] == runtime_of(framework)
        assert (row["REASON"], row["UPTODATE"]) == ("Loaded", "True")
        assert row["COPIES"] == "1"
        assert int(row["BYTES"]) > 0


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_object_comes_as_the_api_server_would_give_it(line: dict[str, str], shared: Stack, form: str) -> None:
    """`-o json|yaml`: a List, or the one object, with spec, identity and a full status."""
    name = line["sklearn"]
    one = shared.run("get", "trainedmodel", name, "-o", form).stdout
    many = shared.run("get", "tm", "-o", form).stdout
    found, listed = (
        (json.loads(one), json.loads(many)) if form == "json" else (yaml.safe_load(one), yaml.safe_load(many))
    )
    assert listed["kind"] == "List"
    (same,) = (item for item in listed["items"] if item["metadata"]["name"] == name)
    live, again = found.pop("live"), same.pop("live")
    assert found == same
    assert live["copies"] == again["copies"]
    # What grows with time.
    assert live["idleSeconds"] >= 0
    assert (found["apiVersion"], found["kind"]) == ("serving.kubeflow.org/v1alpha1", "TrainedModel")
    metadata, status = found["metadata"], found["status"]
    assert metadata["uid"]
    assert metadata["creationTimestamp"]
    assert metadata["generation"] == status["observedGeneration"]
    assert status["activeStorageUri"] == found["spec"]["model"]["storageUri"]
    assert status["activeRevision"]
    assert status["runtime"] == "mlserver-0.x"
    conditions = {c["type"]: c for c in status["conditions"]}
    assert {kind: c["status"] for kind, c in conditions.items()} == {"Ready": "True", "UpToDate": "True"}
    assert all(c.keys() >= {"lastTransitionTime", "reason", "message"} for c in conditions.values())


def test_describe_shows_conditions_copies_and_events(line: dict[str, str], shared: Stack) -> None:
    """`describe` tells how the model came to be what it is."""
    done = shared.run("describe", "trainedmodel", line["onnx"])
    assert done.returncode == 0
    assert re.search(rf"^Name: +{line['onnx']}$", done.stdout, re.MULTILINE)
    for section in ("Conditions:", "Copies:", "Events:"):
        assert re.search(rf"^{section}$", done.stdout, re.MULTILINE), done.stdout
    events = done.stdout.partition("Events:")[2]
    assert re.search(r"Normal +Loaded ", events), events


def test_metrics_tell_what_was_loaded(line: dict[str, str], shared: Stack) -> None:
    """Of a real stack: models by state, loads with their times, the Envoy's answers; and no model's name."""
    with urllib.request.urlopen(f"{shared.admin}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    read = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    triton, mlserver = (frozenset({("runtime", runtime)}) for runtime in ("triton-2.x", "mlserver-0.x"))
    assert read["wml_leader", frozenset()] == 1
    assert read["wml_trained_models", frozenset({("ready", "True"), ("reason", "Loaded")})] >= len(line)
    for runtime in (triton, mlserver):
        loads = read["wml_loads_total", runtime]
        assert loads >= 1
        assert read["wml_load_seconds_count", runtime] == loads
        assert 0 < read["wml_model_memory_reserved_bytes", runtime] <= read["wml_model_memory_capacity_bytes", runtime]
    assert read["wml_mesh_nodes_connected", frozenset()] == read["wml_mesh_nodes_expected", frozenset()] == 1
    assert read["wml_xds_ack_seconds_count", frozenset()] >= len(line)
    assert read["wml_xds_nacks_total", frozenset()] == 0
    assert not [name for name in line.values() if name in page]


def test_verbs_say_what_is_not_there(shared: Stack) -> None:
    """A name that does not exist, and a stack that is not up: exit code 1 and one sentence."""
    missing = shared.run("get", "trainedmodels", "no-such-model")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert 'trainedmodels "no-such-model" not found' in missing.stderr
    assert "Traceback" not in shared.run("describe", "trainedmodel", "no-such-model").stderr
