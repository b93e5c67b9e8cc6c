"""Alerts are about metrics that there are, and every alert says what to do, where the documents explain it."""

from __future__ import annotations

import dataclasses
import re
import socket
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from adapters.ledger import Ledger
from adapters.metrics import exposition as adapter_exposition
from orchestrator.activator.budget import Budget
from orchestrator.activator.counts import ActivatorCounts
from orchestrator.admin.server import AdminServer
from orchestrator.domain.errors import Reason
from orchestrator.machinery.exposition import exposition
from orchestrator.machinery.term import Term
from orchestrator.manager import ControlPlane, Platform
from orchestrator.platform.kube import names
from orchestrator.platform.kube.counts import KubeCounts
from orchestrator.platform.kube.deployment import pool_objects
from orchestrator.settings import ControllerSettings
from tests.orchestrator.controller.fakes import FakePlatform
from tests.orchestrator.platform.kube.making import SETTINGS, make_kube_runtime

ROOT: Final = Path(__file__).resolve().parent.parent
MONITORING: Final = ROOT / "manifests/monitoring"
OPERATIONS: Final = (ROOT / "docs/operations.md").read_text()
OBJECTS: Final[list[dict[str, Any]]] = [
    each for path in sorted(MONITORING.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())
]
RULES: Final[list[dict[str, Any]]] = [
    rule
    for each in OBJECTS
    if each["kind"] == "PrometheusRule"
    for group in each["spec"]["groups"]
    for rule in group["rules"]
]
#: What is no function, keyword or label of PromQL.
METRIC: Final = re.compile(r"\b(?:wml|workqueue|process)_\w+")


def families(page: str) -> dict[str, str]:
    """The kinds of metrics by name, as the page declares them, counters with their suffix."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))


async def leader_page() -> str:
    """What a leader shows, over a socket: its term is made, and does nothing yet."""
    kube = KubeCounts()
    admin = AdminServer(service={}, figures=kube.figures)
    platform: dict[str, Any] = {field.name: FakePlatform() for field in dataclasses.fields(Platform)}
    settings = ControllerSettings(
        directory="d", state_dir="s", namespace="n", supervisor="u", control="c", activator="127.0.0.1:1", mesh_nodes=()
    )
    plane = ControlPlane(settings, Platform(**platform | {"term": Term(7)}), admin)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await admin.start("127.0.0.1", port)
    try:
        plane.show()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            return await answer.text()
    finally:
        await admin.close()


async def all_families() -> dict[str, dict[str, str]]:
    """By component."""
    budget = Budget.divide(1_600, largest=100, max_line=10)
    activator = exposition(ActivatorCounts().figures(held=0, streams=0, connected=False, budget=budget))
    return {
        names.ORCHESTRATOR: families(await leader_page()),
        names.MESH: families(activator.decode()),
        names.RUNTIME: families(adapter_exposition(Ledger(total=1)).decode()),
    }


def series(declared: dict[str, str]) -> set[str]:
    """The names that may be asked for."""
    return {
        name + suffix
        for name, kind in declared.items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


async def test_alerts_are_about_metrics_that_there_are() -> None:
    """Every name in every expression is one that a component shows; a typing error would be an alert that never comes."""
    known = {name for declared in (await all_families()).values() for name in series(declared)}
    for rule in RULES:
        asked = set(METRIC.findall(rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= known, rule["alert"]


async def test_the_documents_list_every_metric() -> None:
    """docs/operations.md has a row for each, by component, and none that is gone."""
    for component, declared in (await all_families()).items():
        section = OPERATIONS.split(f"### Metrics: {component}\n", 1)[1].split("\n#", 1)[0]
        listed = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
        assert listed == {name for name in declared if not name.startswith("process_")}, component


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """A severity, a sentence, what to do, and where there is more: a heading of the alert's name."""
    notes = rule["annotations"]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert notes["summary"].endswith(".")
    assert len(notes["description"]) > 80
    assert notes["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in OPERATIONS


def test_every_runbook_is_of_an_alert() -> None:
    """None outlives its alert, and no name is twice."""
    alerts = [rule["alert"] for rule in RULES]
    assert len(set(alerts)) == len(alerts)
    assert set(re.findall(r"^### (WmlServing\w+)$", OPERATIONS, re.MULTILINE)) == set(alerts)


def test_reasons_in_expressions_are_reasons() -> None:
    """A reason that was renamed would move its models from one alert to another."""
    reasons = {
        word for rule in RULES for each in re.findall(r'reason!?~"([^"]+)"', rule["expr"]) for word in each.split("|")
    }
    assert reasons
    assert reasons <= {reason.value for reason in Reason}


def test_labels_in_expressions_do_not_name_models() -> None:
    """There may be thousands, and each would be an alert."""
    assert not [rule["alert"] for rule in RULES if re.search(r"by \([^)]*\b(model|trained_model)\b", rule["expr"])]


def test_monitoring_is_not_applied_with_the_rest() -> None:
    """`kubectl apply -f manifests/` does not look into folders; a cluster without the Prometheus operator has no such kinds."""
    flat = {each["kind"] for path in ROOT.glob("manifests/*.yaml") for each in yaml.safe_load_all(path.read_text())}
    assert not flat & {"PodMonitor", "PrometheusRule"}
    assert {each["kind"] for each in OBJECTS} == {"PodMonitor", "PrometheusRule", "NetworkPolicy"}


def test_prometheus_may_reach_what_it_is_to_scrape() -> None:
    """One monitor a component, and a policy that opens their ports."""
    monitors = [each for each in OBJECTS if each["kind"] == "PodMonitor"]
    selected = [each["spec"]["selector"]["matchLabels"] for each in monitors]
    assert [labels[names.LABEL_NAME] for labels in selected] == [names.PRODUCT] * 3
    assert {labels[names.LABEL_COMPONENT] for labels in selected} == {names.ORCHESTRATOR, names.MESH, names.RUNTIME}
    (policy,) = (each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy")
    assert policy["podSelector"]["matchLabels"] == {names.LABEL_NAME: names.PRODUCT}
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == {names.ADMIN_PORT, names.ACTIVATOR_HEALTH_PORT, names.ADAPTER_HEALTH_PORT}


def scraped(monitor: dict[str, Any]) -> set[tuple[int, str]]:
    """Port and path, where a monitor finds them by the port's name in the pods that it selects."""
    listed = yaml.safe_load((ROOT / "manifests/workloads.yaml").read_text())["items"]
    deployments = [*listed, pool_objects(make_kube_runtime(), SETTINGS).deployment]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    templates = [each["spec"]["template"] for each in deployments]
    specs = [each["spec"] for each in templates if wanted <= each["metadata"]["labels"].items()]
    return {
        (port["containerPort"], endpoint["path"])
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for spec in specs
        for container in [*spec.get("initContainers", ()), *spec["containers"]]
        for port in container.get("ports", ())
        if port["name"] == endpoint["port"]
    }


def test_each_monitor_finds_the_metrics_of_its_pods() -> None:
    """A name that no container's port has would be scraped nowhere, and nobody would be told."""
    monitors = [each for each in OBJECTS if each["kind"] == "PodMonitor"]
    assert {each["spec"]["selector"]["matchLabels"][names.LABEL_COMPONENT]: scraped(each) for each in monitors} == {
        names.ORCHESTRATOR: {(names.ADMIN_PORT, "/metrics")},
        names.MESH: {(names.ACTIVATOR_HEALTH_PORT, "/metrics")},
        names.RUNTIME: {(names.ADAPTER_HEALTH_PORT, "/metrics")},
    }
