"""The node is a real one: names, addresses, Services, admission and components that can be stopped."""

from __future__ import annotations

import urllib.request

import pytest

from tests.cluster.cluster import Cluster, KubectlError
from tests.cluster.node import units
from tests.cluster.node.place import NODE
from tests.cluster.pods import pod
from tests.standalone.waiting import wait_until


def test_the_node_is_ready(bare: Cluster) -> None:
    """As the API server says of it."""
    bare.until_condition("node", NODE)


def test_a_headless_service_has_the_addresses_of_its_pods(space: Cluster) -> None:
    """Inside a pod and beside the pods, by the node's DNS."""
    ready = {"exec": {"command": ["true"]}}
    space.apply(
        *(
            pod(name, units.PAUSE, readinessProbe=ready) | {"metadata": {"name": name, "labels": {"app": "many"}}}
            for name in ("one", "two")
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "many"},
            "spec": {"clusterIP": "None", "selector": {"app": "many"}, "ports": [{"port": 80}]},
        },
    )
    for name in ("one", "two"):
        space.until_condition("pod", name)
    addresses = {p["status"]["podIP"] for p in space.pods("app=many")}
    assert len(addresses) == 2
    host = f"many.{space.namespace}.svc.cluster.local"
    wait_until(lambda: space.addresses(host) == addresses, f"{host} is not {addresses}", poll=0.5)
    said = space.execute("one", "nslookup", f"{host}.")
    assert all(address in said for address in addresses), said


def test_a_pod_that_is_not_hardened_is_not_let_in(space: Cluster) -> None:
    """Pod Security `restricted` is enforced, not only announced."""
    soft = pod("soft", units.PAUSE)
    del soft["spec"]["securityContext"]
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        space.apply(soft)


def test_a_server_in_a_pod_is_reached_from_here(space: Cluster) -> None:
    """By the pod's address, and by kubectl's port-forward."""
    serve = "mkdir -p /tmp/www && echo here >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
    probe = {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1}
    space.apply(pod("web", units.PAUSE, command=("sh", "-c", serve), readinessProbe=probe))
    address = space.until_condition("pod", "web")["status"]["podIP"]
    with space.reach(address, 8080) as here:
        assert _fetch(here) == "here\n"
    with space.port_forward("pod/web", 8080) as here:
        assert _fetch(here) == "here\n"


def test_a_component_can_be_absent_for_a_while(bare: Cluster) -> None:
    """Without the API server nobody answers; with it again, the node is what it was."""
    with bare.without("apiserver"), pytest.raises(KubectlError, match="refused"):
        bare.get("node", NODE)
    bare.until_it_answers()
    bare.until_condition("node", NODE)


def _fetch(address: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}/", timeout=10) as answer:
        text: str = answer.read().decode()
        return text
