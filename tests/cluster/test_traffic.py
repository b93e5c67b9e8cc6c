"""
What a user changes while clients go on: models, runtimes, settings.

Clients are a round-robin client over the headless Service: each answer says
which version of which model gave it, and none may be lost.
"""

from __future__ import annotations

import itertools
import time
from typing import Final

import grpc
import pytest
import yaml

from tests.cluster.balanced import Balanced
from tests.cluster.cluster import condition_of
from tests.cluster.node import images
from tests.cluster.product import MESH, ORCHESTRATOR, Product, trained_model
from tests.cluster.warm import NUMBER, WARM
from tests.documents import own_serving_runtime
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

SUFFIX: Final = {"sklearn": "joblib", "onnx": "onnx"}
#: What clients have sent to the Envoy of a pod, as it counts itself.
ASKED: Final = r"""
import urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
stats = opener.open(r"http://127.0.0.1:9901/stats?filter=^http\.mesh\.downstream_rq_total$", timeout=10).read()
print(int(stats.split()[1]))
"""


def asked(product: Product) -> dict[str, int]:
    """Address of a mesh pod → requests that its Envoy got."""
    return {
        pod["status"]["podIP"]: int(
            product.cluster.execute(pod["metadata"]["name"], "python3", "-c", ASKED, container="activator")
        )
        for pod in product.cluster.pods(MESH)
    }


def test_every_envoy_is_asked(warm: Product) -> None:
    """The Service's name is the addresses of its pods, and a client that goes round-robin sends to all of them."""
    service = f"wml-serving.{warm.cluster.namespace}.svc.cluster.local"
    before = asked(warm)
    assert len(before) == 2
    # Names of somebody's cluster are not known here.
    if not warm.cluster.external:
        assert warm.cluster.addresses(service) == before.keys()

    def more(since: dict[str, int]) -> list[int]:
        return [count - since[address] for address, count in asked(warm).items()]

    with Balanced(warm, WARM) as witness:
        # One connection may be made a while before the other.
        wait_until(lambda: min(more(before)) > 0, lambda: f"not each is asked: {more(before)}", poll=0.5)
        connected = asked(warm)
        witness.heard(WARM, NUMBER, times=40)
    witness.check()
    # Half of them each, but for what was under way when it was counted.
    assert min(more(connected)) >= 10, more(connected)


@pytest.mark.parametrize("framework", sorted(SUFFIX))
def test_update_and_delete(product: Product, models: Models, name: str, framework: str) -> None:
    """To another file, back to the first, and away: answers change once each time, READY never, no request is lost."""
    cluster, neighbour = product.cluster, f"{name}-neighbour"
    uris = {number: models.uri(f"probe-{number}.{SUFFIX[framework]}") for number in (1, 2, 3)}
    with product.model(neighbour, uris[3], framework), product.model(name, uris[1], framework):
        product.until_ready(name, within=180)
        product.until_ready(neighbour)
        since = condition_of(cluster.get("trainedmodel", name), "Ready")["lastTransitionTime"]
        with Balanced(product, name, neighbour) as witness:
            witness.heard(name, 1, within=60)
            for number in (2, 1):
                cluster.apply(trained_model(name, uris[number], framework))
                witness.heard(name, number, within=120)
            changed = cluster.until(
                "trainedmodel",
                name,
                lambda o: (
                    o["status"]["activeStorageUri"] == uris[1] and condition_of(o, "UpToDate")["status"] == "True"
                ),
                "is not up to date",
            )
            assert condition_of(changed, "Ready")["lastTransitionTime"] == since
            assert witness.phases(name) == [1, 2, 1]
            witness.check()
            cluster.delete("trainedmodel", name)
            wait_until(
                lambda: len([o for o in witness.of(name)[-10:] if o.code is grpc.StatusCode.NOT_FOUND]) == 10,
                lambda: f"{name} is not gone: {witness.of(name)[-3:]}",
                within=60,
            )
            witness.heard(neighbour, 3)
        witness.check(excused=lambda o: o.model == name and o.code is grpc.StatusCode.NOT_FOUND)


def test_a_runtime_that_is_named_is_used(product: Product, models: Models, name: str) -> None:
    """The built-in one, by its name."""
    with product.model(name, models.sample("sklearn"), "sklearn", runtime="mlserver-0.x"):
        assert product.until_ready(name, within=180)["status"]["runtime"] == "mlserver-0.x"


def test_a_runtime_that_comes_and_goes(product: Product, models: Models, name: str) -> None:
    """
    The documentation's serves who names it, in pods as it says; without it, those are told, and with it again they are back.

    With this build's image, since the one that it names is on no node here, and with less to ask for.
    """
    cluster, made = product.cluster, yaml.safe_load(own_serving_runtime())
    runtime, server = made["metadata"]["name"], made["spec"]["containers"][0]
    server["image"] = images.MLSERVER.reference()
    server["resources"]["requests"] = {"cpu": "50m", "memory": "64Mi"}
    cluster.apply(made)
    try:
        with product.model(name, models.uri("probe-4.joblib"), "sklearn", runtime=runtime):
            assert product.until_ready(name, within=180)["status"]["runtime"] == runtime
            pods = cluster.pods(f"wmlserving.ai.ibm.com/runtime={runtime}")
            assert len(pods) == 1
            launched = next(c for c in pods[0]["spec"]["containers"] if c["name"] == "mlserver")
            assert launched["resources"] == server["resources"]
            with Balanced(product, name) as witness:
                witness.heard(name, 4, within=60)
                witness.check()
                deleted = time.monotonic()
                cluster.delete("servingruntime", runtime)
                told = cluster.until(
                    "trainedmodel",
                    name,
                    lambda o: condition_of(o, "UpToDate").get("reason") == "RuntimeNotRecognized",
                    "is not told that its runtime is gone",
                )
                assert condition_of(told, "Ready")["status"] == "True"
                assert runtime in condition_of(told, "UpToDate")["message"]
                # Fifteen seconds later, and whatever it takes to see that its pod leaves.
                product.until_reason(name, "RuntimeNotRecognized", within=60)
                wait_until(lambda: witness.lost, "requests for it are not refused")
            # It answered for as long as the runtime might have come back, and refused in words from then on.
            refused = [o for o in witness.lost if o.code is grpc.StatusCode.FAILED_PRECONDITION]
            assert min(o.sent for o in refused) - deleted > 10
            witness.check(excused=lambda o: o in refused)
            cluster.apply(made)
            product.until_ready(name, within=180)
            with Balanced(product, name) as witness:
                witness.heard(name, 4, within=60)
                witness.check()
    finally:
        cluster.delete("servingruntime", runtime)


def test_the_log_level_is_live(product: Product, name: str) -> None:
    """At `error` nothing is said of a model that cannot be served; without the setting it is, as before."""
    cluster, numbers = product.cluster, itertools.count()

    def told() -> bool:
        model = f"{name}-{next(numbers)}"
        with product.model(model, "no-uri", "sklearn"):
            product.until_reason(model, "InvalidStorageUri")
            return f'"{model}"' in cluster.logs_of(ORCHESTRATOR)

    # A status is written first, and told of then.
    wait_until(told, "nothing is told", within=60)
    with product.setting("logLevel", "error"):
        wait_until(lambda: not told(), "all is told as before", within=60)
    wait_until(told, "nothing is told any more", within=60)
