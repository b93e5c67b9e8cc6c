"""
What the cluster itself is without for a while, and what is rolled out, while a warm model is asked all the time.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from tests.cluster.cluster import KubectlError, Object
from tests.cluster.cold import asking, cold
from tests.cluster.handover import handed_over
from tests.cluster.meanwhile import Meanwhile
from tests.cluster.node import images, inside
from tests.cluster.node import store as node_store
from tests.cluster.node.place import NODE
from tests.cluster.product import LEASE, Product
from tests.cluster.warm import NUMBER, RUNTIME, WARM, answered, changes_happen, copies, settled, witnessed
from tests.log_lines import events
from tests.standalone.waiting import holds_for, wait_until

OURS: Final = "app.kubernetes.io/name=wml-serving"
ETCD: Final = "http://127.0.0.1:2379/v3/kv"
#: What has to be listed again, so that a leader goes on with the truth.
FOLLOWED: Final = {"trainedmodels", "servingruntimes", "secrets", "configmaps", "deployments", "pods"}
#: Physically: nothing of the past is left to be read.
COMPACT: Final = f"""
import json, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
def ask(what, **said):
    return json.load(opener.open(f"{ETCD}/{{what}}", json.dumps(said).encode(), timeout=10))
# Whatever was followed to the last change is behind then, too.
for _ in range(3):
    revision = ask("put", key="AA==", value="")["header"]["revision"]
ask("deleterange", key="AA==")
ask("compaction", revision=revision, physical=True)
"""


def containers(product: Product) -> dict[str, Object]:
    """Pod and container → what is said of it."""
    return {
        f"{pod['metadata']['name']}/{status['name']}": status
        for pod in product.cluster.pods(OURS)
        for which in ("containerStatuses", "initContainerStatuses")
        for status in pod["status"].get(which, ())
    }


def restarts(product: Product) -> dict[str, int]:
    """Pod and container → how often it was started again."""
    return {where: status["restartCount"] for where, status in containers(product).items()}


def started_since(product: Product, moment: datetime) -> list[str]:
    """The containers that run since then, or since later; of the moment the second counts."""
    return [
        where
        for where, status in containers(product).items()
        if (running := status["state"].get("running")) and datetime.fromisoformat(running["startedAt"]) >= moment
    ]


def lists_again(product: Product) -> Counter[str]:
    """Resource → how often the leader says that a version was gone, and that it listed again."""
    said = events(product.cluster.logs(product.leader()["metadata"]["name"]))
    return Counter(
        line["path"].rpartition("/")[2]
        for line in said
        if line["event"] == "watch_listed_again" and line["problem"].startswith("410 ")
    )


def test_a_kubelet_that_is_started_again_changes_nothing(warm: Product, name: str) -> None:
    """Pods live without one; what it finds it leaves as it is."""
    # Whoever leads since an outage of the test before may have heard of no copy yet.
    before = wait_until(lambda: copies(warm), "nobody knows where the warm model is", within=60)
    with witnessed(warm) as witness:
        # Not how often they were started before: a kubelet says that of a restart in the test before when it likes.
        moment = datetime.now(UTC).replace(microsecond=0)
        warm.cluster.kill("kubelet")
        answered(witness)
        warm.cluster.resume("kubelet")
        changes_happen(warm, name)
        # Only a kubelet has them.
        wait_until(lambda: _has_logs(warm), "the kubelet is not back", within=60)
        answered(witness)
    witness.check()
    assert copies(warm) == before
    assert not started_since(warm, moment)


def test_a_past_that_is_gone_is_not_missed(warm: Product, name: str) -> None:
    """After etcd's compaction watches cannot go on: the same leader lists all again, and finds what was changed."""
    # On a busy machine the lease may be over before the API server is back: that is not what is looked at.
    turns = itertools.count()
    wait_until(lambda: _a_past_goes(warm, f"{name}-{next(turns)}"), "no leader kept its lease", within=180)


def _a_past_goes(warm: Product, name: str) -> bool:
    """Whoever leads then finds what was changed. Returns whether the leader kept its lease meanwhile, and so listed again."""
    before, known, moment = copies(warm), lists_again(warm), datetime.now(UTC)
    with Meanwhile(warm, name) as changes, witnessed(warm) as witness:
        acquired, renewed = (_lease(warm)[when] for when in ("acquireTime", "renewTime"))
        # From now on it lasts the longest.
        wait_until(lambda: _lease(warm)["renewTime"] != renewed, "the lease is not renewed", poll=0.25)
        # A server that starts knows no rights yet, and would refuse a watch for that.
        with warm.cluster.out_of_reach():
            changes.make()
            compaction = warm.cluster.start(sys.executable, "-c", COMPACT)
            # One that is told to end lets its watchers have seconds, of the ten that a lease is trusted.
            with warm.cluster.without("apiserver", now=True):
                assert compaction.wait(30) == 0
            warm.cluster.until_it_answers()
        changes.heard()
        kept = _lease(warm)["acquireTime"] == acquired
        if kept:
            wait_until(
                lambda: (lists_again(warm) - known).keys() >= FOLLOWED,
                lambda: f"{FOLLOWED} are not listed again: {lists_again(warm)}, {known}",
                within=60,
                poll=1,
            )
        answered(witness)
    witness.check()
    assert copies(warm) == before
    if kept:
        assert not started_since(warm, moment)
        assert _lease(warm)["acquireTime"] == acquired
    else:
        settled(warm)
    return kept


def test_orchestrators_are_rolled_out(warm: Product, name: str) -> None:
    """As after `kubectl rollout restart`: whoever leads next takes the models as they are."""
    before = copies(warm)
    with always_ready(warm), witnessed(warm) as witness:
        warm.cluster.kubectl("rollout", "restart", "deployment/wml-serving-orchestrator")
        settled(warm)
        changes_happen(warm, name)
        answered(witness)
    witness.check()
    assert copies(warm) == before


def test_an_upgrade_rolls_out_adapters_and_keeps_models(warm: Product) -> None:
    """Another image of ours: each pool gets pods with the new adapter, and models move before the old ones end."""
    newer = f"{images.REPOSITORY}/{images.PRODUCT.name}:newer"
    done = inside.run(node_store.ctr("images", "tag", "--force", images.PRODUCT.reference(), newer))
    assert done.returncode == 0, done.stderr
    with always_ready(warm), witnessed(warm) as witness:
        try:
            with handed_over(warm, RUNTIME, WARM):
                _upgrade(warm, images.PRODUCT.reference(), newer)
            answered(witness)
        finally:
            with handed_over(warm, RUNTIME, WARM):
                _upgrade(warm, newer, images.PRODUCT.reference())
        answered(witness)
    witness.check()


def test_a_minute_without_the_api_server(warm: Product, name: str) -> None:
    """
    Requests flow; the leader gives up in time and once, and one leads when there is a lease to be had again.

    What users have done meanwhile happens then, and a request for a model that nobody can load before is answered.
    """
    before, started = copies(warm), restarts(warm)
    with (
        Meanwhile(warm, name) as changes,
        witnessed(warm) as witness,
        cold(warm, "cold-in-an-outage") as ask,
        asking(warm, changes.created) as ask_new,
    ):
        pool = "wmlserving.ai.ibm.com/runtime=cold-in-an-outage"
        # A kubelet goes on by itself. What it has not begun with is up to controllers, which pause for half a minute then.
        wait_until(
            lambda: any(pod["status"].get("podIP") for pod in warm.cluster.pods(pool)), "no pod is begun", within=60
        )
        # Pods find the API server some seconds after users do: what these do until then is as if done all the time.
        with warm.cluster.out_of_reach():
            with warm.cluster.without("apiserver"):
                holds_for(lambda: not witness.lost, "a request was lost", seconds=30)
                answer = ask()
                holds_for(lambda: not witness.lost, "a request was lost", seconds=30)
            warm.cluster.until_it_answers()
            changes.make()
            # Nobody leads. Whoever does next has not seen it, and must not say that it is not there.
            new = ask_new()
        # Long before the kubelet has looked again: until then all pods are called not ready.
        changes.heard(within=30)
        assert answer().number == NUMBER, answer()
        assert new().number == NUMBER, new()
        answered(witness)
    witness.check()
    assert copies(warm) == before
    more = Counter(restarts(warm)) - Counter(started)
    # Whoever led ended, as it does when it cannot know whether it leads. Nothing else, and nobody twice.
    assert set(more.values()) <= {1}, more
    assert all(where.endswith("/orchestrator") for where in more), more
    # The cluster's own parts were away as well, and are not quick to look again.
    warm.cluster.until_condition("node", NODE, within=120)
    settled(warm)


def _lease(product: Product) -> Mapping[str, str]:
    """What it says of who leads."""
    spec: Mapping[str, str] = product.cluster.get("lease", LEASE)["spec"]
    return spec


def _upgrade(product: Product, old: str, new: str) -> None:
    """Name another image in the two places that name it, in one change, and wait until every copy has moved."""
    cluster, deployment, pool = product.cluster, "wml-serving-orchestrator", f"wml-serving-{RUNTIME}"
    before = copies(product)
    (container,) = cluster.get("deployment", deployment)["spec"]["template"]["spec"]["containers"]
    env = [e | {"value": new} if e["name"] == "IMAGE" else e for e in container["env"]]
    changed = container | {"image": new, "env": env}
    cluster.patch("deployment", deployment, {"spec": {"template": {"spec": {"containers": [changed]}}}})
    settled(product)
    cluster.until("deployment", pool, lambda found: old not in str(found["spec"]), "has the old adapter", within=120)
    cluster.rolled_out("deployment", pool, within=180)
    wait_until(
        lambda: before.keys().isdisjoint(pod["metadata"]["name"] for pod in cluster.all("pods")),
        "the old pods are not gone",
        within=120,
        poll=1,
    )


@contextmanager
def always_ready(product: Product) -> Iterator[None]:
    """Raises AssertionError if the warm model's Ready was anything but True at any time meanwhile."""
    path = '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
    asked = (
        "kubectl",
        "--namespace",
        product.cluster.namespace,
        "get",
        "tm",
        WARM,
        "--watch",
        "-o",
        f"jsonpath={path}",
    )
    with tempfile.TemporaryFile("w+") as seen:
        process = product.cluster.start(*asked, output=seen)
        try:
            yield
        finally:
            process.kill()
            process.wait()
        seen.seek(0)
        said = seen.read().split()
    assert said, "nothing was seen"
    assert set(said) == {"True"}, said


def _has_logs(product: Product) -> bool:
    try:
        return bool(product.cluster.logs(product.leader()["metadata"]["name"], "--tail=1"))
    except (KubectlError, subprocess.SubprocessError):
        return False
