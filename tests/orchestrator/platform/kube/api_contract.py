"""
What is relied on of any API server: the tests' own has to do it as the real one does.

A suite without a server: whoever inherits it has fixtures `api` (a KubeApi) and
`namespace` (an empty one of the test's own). ConfigMaps, Leases and Ingresses
are used since nothing in a cluster reacts to them.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from orchestrator.platform.kube import names
from orchestrator.platform.kube.api import ApiError, KubeApi, Raw
from orchestrator.platform.kube.election import Timing
from orchestrator.platform.kube.lease import Elector
from orchestrator.platform.kube.paths import core, group
from orchestrator.platform.kube.reflector import Reflector
from tests.orchestrator.waiting import eventually


def config(name: str, value: str = "1", **metadata: Any) -> Raw:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"x": value}}


def ingress(name: str, service: str) -> Raw:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"defaultBackend": backend},
    }


async def refused(request: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await request
    return raised.value


def elector(api: KubeApi, namespace: str, pod: str) -> Elector:
    timing = Timing(duration_s=30, deadline_s=20, retry_s=0.05, look_s=0.05)
    return Elector(api, namespace, pod, clock=time.monotonic, wall_ns=time.time_ns, random=random.random, timing=timing)


class ApiContract:
    """Of objects, lists, watches, and what is built on them."""

    async def test_an_object_is_made_read_and_removed(self, api: KubeApi, namespace: str) -> None:
        """Once; and what only servers read is not in it."""
        configs, path = core("configmaps", namespace), core("configmaps", namespace, "a")
        made = await api.create(configs, config("a"))
        assert made == await api.get(path)
        assert made["metadata"]["uid"]
        assert made["metadata"]["namespace"] == namespace
        assert "managedFields" not in made["metadata"]
        again = await refused(api.create(configs, config("a")))
        assert (again.status, again.reason) == (409, "AlreadyExists")
        await api.delete(path)
        gone = await refused(api.get(path))
        assert (gone.status, gone.reason) == (404, "NotFound")
        assert (await refused(api.delete(path))).status == 404

    async def test_a_name_may_be_left_to_the_server(self, api: KubeApi, namespace: str) -> None:
        """Events are made so."""
        raw = config("")
        raw["metadata"] = {"generateName": "e-"}
        made = [(await api.create(core("configmaps", namespace), raw))["metadata"]["name"] for _ in range(2)]
        assert made[0] != made[1]
        assert all(name.startswith("e-") for name in made)

    async def test_a_replacement_is_a_compare_and_swap(self, api: KubeApi, namespace: str) -> None:
        """Of two who read the same version one writes; a write that changes nothing is none."""
        path = core("configmaps", namespace, "a")
        first = await api.create(core("configmaps", namespace), config("a"))
        second = await api.replace(path, {**first, "data": {"x": "2"}})
        late = await refused(api.replace(path, {**first, "data": {"x": "3"}}))
        assert (late.status, late.reason) == (409, "Conflict")
        same = await api.replace(path, second)
        assert same["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
        assert (await api.get(path))["data"] == {"x": "2"}
        assert (await refused(api.replace(core("configmaps", namespace, "b"), config("b")))).status == 404

    async def test_a_merge_changes_what_it_names(self, api: KubeApi, namespace: str) -> None:
        """Null removes, the rest stays; with a version it is a compare-and-swap, too."""
        path = core("configmaps", namespace, "a")
        first = await api.create(core("configmaps", namespace), config("a", labels={"p": "1", "q": "1"}))
        merged = await api.merge(path, {"metadata": {"labels": {"p": None, "r": "1"}}, "data": {"y": "2"}})
        assert (merged["metadata"]["labels"], merged["data"]) == ({"q": "1", "r": "1"}, {"x": "1", "y": "2"})
        same = await api.merge(path, {"data": {"y": "2"}})
        assert same["metadata"]["resourceVersion"] == merged["metadata"]["resourceVersion"]
        version = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}}
        assert (await refused(api.merge(path, {**version, "data": {"y": "3"}}))).reason == "Conflict"

    async def test_an_apply_makes_or_changes(self, api: KubeApi, namespace: str) -> None:
        """As often as one likes; a dry run says what would be, and changes nothing."""
        path = core("configmaps", namespace, "a")
        would = await api.apply(path, config("a"), dry_run=True)
        assert would["data"] == {"x": "1"}
        assert (await refused(api.get(path))).status == 404
        first = await api.apply(path, config("a"))
        same = await api.apply(path, config("a"))
        assert same["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert (await api.apply(path, config("a", "2")))["data"] == {"x": "2"}
        assert (await api.get(path))["data"] == {"x": "2"}

    async def test_what_is_applied_no_more_goes(self, api: KubeApi, namespace: str) -> None:
        """But not what others have set."""
        path = core("configmaps", namespace, "a")
        await api.apply(path, {**config("a"), "data": {"x": "1", "y": "1"}})
        await api.merge(path, {"data": {"z": "1"}})
        assert (await api.apply(path, config("a")))["data"] == {"x": "1", "z": "1"}

    async def test_what_others_have_changed_is_changed_by_force_only(self, api: KubeApi, namespace: str) -> None:
        """A conflict names the fields; to apply what is there is none, and makes nobody lose anything."""
        path = core("configmaps", namespace, "a")
        both = {**config("a"), "data": {"x": "1", "y.z": "1"}}
        await api.apply(path, both)
        await api.merge(path, {"data": {"y.z": "2"}})
        conflict = await refused(api.apply(path, both, force=False))
        assert (conflict.reason, conflict.fields) == ("Conflict", (".data.y.z",))
        agreed = {**config("a"), "data": {"x": "3", "y.z": "2"}}
        for _ in range(2):
            assert (await api.apply(path, agreed, force=False))["data"] == agreed["data"]
        assert (await api.apply(path, config("a"), force=False))["data"] == {"x": "1", "y.z": "2"}
        await api.merge(path, {"data": {"x": "9"}})
        assert (await api.apply(path, both))["data"] == both["data"]
        assert (await api.apply(path, config("a"), force=False))["data"] == {"x": "1"}

    async def test_spec_and_status_are_written_apart(self, api: KubeApi, namespace: str) -> None:
        """Each way ignores what is the other's, and only the spec has generations."""
        path = group("networking.k8s.io/v1", "ingresses", namespace, "a")
        made = await api.create(group("networking.k8s.io/v1", "ingresses", namespace), ingress("a", "one"))
        assert made["metadata"]["generation"] == 1
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        told = await api.merge(f"{path}/status", {"status": status, "spec": ingress("a", "two")["spec"]})
        assert (told["status"], told["spec"]) == (status, made["spec"])
        assert told["metadata"]["generation"] == 1
        changed = await api.merge(path, {"status": {"loadBalancer": None}, "spec": ingress("a", "two")["spec"]})
        assert changed["status"] == status
        assert changed["metadata"]["generation"] == 2

    async def test_a_finalizer_defers_a_deletion(self, api: KubeApi, namespace: str) -> None:
        """It is marked, and goes with the last of them."""
        path = core("configmaps", namespace, "a")
        await api.create(core("configmaps", namespace), config("a", finalizers=["example.com/x"]))
        await api.delete(path)
        assert (await api.get(path))["metadata"]["deletionTimestamp"]
        await api.merge(path, {"metadata": {"finalizers": None}})
        assert (await refused(api.get(path))).status == 404

    async def test_a_deletion_may_be_of_one_object_only(self, api: KubeApi, namespace: str) -> None:
        """Not of another that has got its name meanwhile."""
        path = core("configmaps", namespace, "a")
        made = await api.create(core("configmaps", namespace), config("a"))
        assert (await refused(api.delete(path, {"preconditions": {"uid": "other"}}))).status == 409
        await api.delete(path, {"preconditions": {"uid": made["metadata"]["uid"]}})

    async def test_a_list_is_whole_however_it_is_paged(self, api: KubeApi, namespace: str) -> None:
        """Selected by labels and fields; items are as when they are read alone."""
        configs = core("configmaps", namespace)
        made = [await api.create(configs, config(f"a{n}", labels={"n": str(n)})) for n in range(5)]
        whole = await api.list(configs, {"limit": "2", "labelSelector": "n"})
        assert sorted(whole.items, key=lambda item: str(item["metadata"]["name"])) == made
        newest = {"resourceVersion": whole.resource_version, "resourceVersionMatch": "NotOlderThan"}
        again = await api.list(configs, {"limit": "2", "labelSelector": "n", **newest})
        assert len(again.items) == 5
        for query, names_ in (
            ({"labelSelector": "n in (1, 2),n!=2"}, ["a1"]),
            ({"labelSelector": "n,n notin (0,1,2)"}, ["a3", "a4"]),
            ({"labelSelector": "!n,never"}, []),
            ({"fieldSelector": "metadata.name=a4"}, ["a4"]),
        ):
            result = await api.list(configs, query)
            assert [item["metadata"]["name"] for item in result.items] == names_
            assert result.resource_version

    async def test_a_version_of_the_future_is_said_to_be_none(self, api: KubeApi, namespace: str) -> None:
        """Not an empty list, nor for ever."""
        query = {"resourceVersion": str(1 << 40), "resourceVersionMatch": "NotOlderThan"}
        assert (await refused(api.list(core("configmaps", namespace), query))).expired

    async def test_a_watch_goes_on_from_a_lists_version(self, api: KubeApi, namespace: str) -> None:
        """What came after it, in order, selected; and it ends when asked to, without an error."""
        configs, path = core("configmaps", namespace), core("configmaps", namespace, "a")
        await api.create(configs, config("before", labels={"w": "1"}))
        version = (await api.list(configs)).resource_version
        await api.create(configs, config("a", labels={"w": "1"}))
        await api.create(configs, config("other"))
        await api.merge(path, {"data": {"x": "2"}})
        await api.merge(path, {"metadata": {"labels": None}})
        query = {"resourceVersion": version, "labelSelector": "w", "timeoutSeconds": "2"}
        async with api.watch(configs, query) as events:
            seen = [(event["type"], event["object"]["metadata"]["name"]) async for event in events]
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]

    async def test_a_watch_carries_the_largest_objects(self, api: KubeApi, namespace: str) -> None:
        """Of about a megabyte, in one line."""
        configs = core("configmaps", namespace)
        version = (await api.list(configs)).resource_version
        text = "wml " * (240 << 10)
        # A cluster puts its certificate authority into each new namespace.
        query = {"resourceVersion": version, "timeoutSeconds": "30", "fieldSelector": "metadata.name=large"}
        async with api.watch(configs, query) as events:
            await api.create(configs, config("large", text))
            event = await anext(events)
        assert event["object"]["data"] == {"x": text}
        assert "managedFields" not in event["object"]["metadata"]

    async def test_a_reflector_ends_with_what_there_is(self, api: KubeApi, namespace: str) -> None:
        """What it said, folded, is the list."""
        configs = core("configmaps", namespace)
        await api.create(configs, config("before", labels={"r": "1"}))
        objects: dict[str, str] = {}

        def on_list(items: list[Raw]) -> None:
            objects.clear()
            objects.update({item["metadata"]["name"]: item["data"]["x"] for item in items})

        def on_event(kind: str, raw: Raw) -> None:
            if kind == "DELETED":
                del objects[raw["metadata"]["name"]]
            else:
                objects[raw["metadata"]["name"]] = raw["data"]["x"]

        reflector = Reflector(
            api,
            configs,
            on_list=on_list,
            on_event=on_event,
            clock=time.monotonic,
            random=random.random,
            label_selector="r",
        )
        running = asyncio.create_task(reflector.run())
        try:
            await reflector.synced.wait()
            assert objects == {"before": "1"}
            await api.create(configs, config("a", labels={"r": "1"}))
            await api.merge(core("configmaps", namespace, "a"), {"data": {"x": "2"}})
            await api.delete(core("configmaps", namespace, "before"))
            await eventually(lambda: objects == {"a": "2"})
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def test_a_lead_is_taken_kept_and_let_go(self, api: KubeApi, namespace: str) -> None:
        """By one after the other, with epochs that grow."""
        first, second = elector(api, namespace, "pod-a"), elector(api, namespace, "pod-b")
        path = group("coordination.k8s.io/v1", "leases", namespace, names.ORCHESTRATOR_NAME)
        term = await first.acquire()
        lease = await api.get(path)
        assert lease["metadata"]["annotations"][names.ANNOTATION_EPOCH] == str(term.epoch)
        keeping, waiting = asyncio.create_task(first.keep()), asyncio.create_task(second.acquire())
        try:
            await eventually(lambda: second.holder == first.identity)
            while (await api.get(path))["spec"]["renewTime"] == lease["spec"]["renewTime"]:
                await asyncio.sleep(0.01)
            assert not (term.over)
            assert not (waiting.done())
            assert not (keeping.done())
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await first.release()
            assert (await asyncio.wait_for(waiting, 10)).epoch > term.epoch
            assert second.holder == second.identity
        finally:
            keeping.cancel()
            waiting.cancel()
            await asyncio.gather(keeping, waiting, return_exceptions=True)
