"""
The objects of a pool as they should be, and what is to be said of one that is there.

The API server fills in what a Deployment leaves out and writes numbers its own
way, so that what was applied and what is there cannot be compared. A digest of
what was applied, kept in an annotation, can; and whether somebody changed the
spec since is told by `metadata.generation`. What others add (an annotation of
`kubectl rollout restart`) is theirs, and stays.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator.domain.serving_runtime import API_VERSION, KIND, ServingRuntime
from orchestrator.platform.kube.answers import UNREADABLE
from orchestrator.platform.kube.hardening import Raw
from orchestrator.platform.kube.names import PREFIX
from orchestrator.platform.kube.pod_settings import PodSettings
from orchestrator.platform.kube.pod_template import pod_template
from orchestrator.platform.kube.pool_names import (
    ANNOTATION_RUNTIME,
    annotations_of,
    is_pools,
    labels_of,
    pool_labels,
    pool_name,
    runtime_of,
    selector_labels,
)
from orchestrator.platform.kube.server_container import taken_port

ANNOTATION_DIGEST: Final = f"{PREFIX}/applied"

#: A quota's refusal names the pod that was not made, another one each time.
_POD_NAME: Final = re.compile(r'pods "[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObjects:
    """What to apply for a pool, but for its number of pods."""

    runtime: str
    #: Of the ServingRuntime, which owns it all.
    owner: str
    digest: str
    deployment: Raw = field(repr=False, compare=False)
    budget: Raw = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Of both objects."""
        return str(self.deployment["metadata"]["name"])

    def at(self, replicas: int) -> Raw:
        """The Deployment with so many pods."""
        return {**self.deployment, "spec": {"replicas": replicas, **self.deployment["spec"]}}


def pool_objects(runtime: ServingRuntime, settings: PodSettings) -> PoolObjects:
    """Of a ServingRuntime. Raises ValueError naming what cannot be read, or cannot be."""
    if not runtime.readable:
        raise ValueError(runtime.unused)
    try:
        template, taken = pod_template(runtime, settings), taken_port(runtime)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"ServingRuntime {runtime.name}: spec cannot be read: {error!r}") from error
    if taken:
        raise ValueError(f"ServingRuntime {runtime.name}: {taken}")
    spec: Raw = {
        "revisionHistoryLimit": 2,
        # No pod goes before another is ready in its place.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": selector_labels(runtime.name)},
        "template": template,
    }
    digest = hashlib.sha256(json.dumps([spec, runtime.uid], sort_keys=True).encode()).hexdigest()[:16]
    return PoolObjects(
        runtime=runtime.name,
        owner=runtime.uid,
        digest=digest,
        deployment={
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(runtime, settings, {ANNOTATION_DIGEST: digest}),
            "spec": spec,
        },
        budget={
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(runtime, settings, {}),
            "spec": {
                "maxUnavailable": 1,
                # Two servers that crash again and again would keep their nodes from being drained for ever.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": selector_labels(runtime.name)},
            },
        },
    )


def _metadata(runtime: ServingRuntime, settings: PodSettings, annotations: Mapping[str, str]) -> Raw:
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": runtime.name,
        "uid": runtime.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "name": pool_name(runtime.name),
        "namespace": settings.namespace,
        "labels": pool_labels(runtime.name),
        "annotations": {ANNOTATION_RUNTIME: runtime.name, **annotations},
        "ownerReferences": [owner],
    }


def foreign(deployment: Mapping[str, Any], runtime: str) -> str:
    """
    Why a Deployment of the pool's name is not the pool's; "" if it is.

    Whose it is is told by what controls it, whatever became of its labels; one that was orphaned, by its labels.
    """
    name = deployment["metadata"]["name"]
    owners = deployment["metadata"].get("ownerReferences") or ()
    owner = next((o for o in owners if o.get("controller")), None)
    if owner is not None and (owner.get("kind"), owner.get("name")) == (KIND, runtime):
        return ""
    if owner is not None:
        whose = f"controlled by {owner.get('kind')} {owner.get('name')}"
    elif not is_pools(deployment) or runtime_of(deployment) != runtime:
        whose = "not of this product"
    else:
        return ""
    return f"Deployment {name} is {whose}: it is left alone. Rename or delete it"


def replicas_of(deployment: Mapping[str, Any]) -> int:
    """How many pods it is to have."""
    replicas = (deployment.get("spec") or {}).get("replicas")
    # The API server's own default.
    return replicas if isinstance(replicas, int) else 1


def refusal_of(deployment: Mapping[str, Any]) -> str:
    """Why pods of it are not even made (a quota, an admission), or that this cannot be read; "" if they are."""
    if UNREADABLE in deployment:
        return str(deployment[UNREADABLE])
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            said = condition.get("message") or condition.get("reason") or "no reason given"
            return f"its pods are refused: {_POD_NAME.sub('pods', said)}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the last apply came to."""

    digest: str
    replicas: int
    uid: str
    generation: int

    @classmethod
    def of(cls, objects: PoolObjects, replicas: int, deployment: Mapping[str, Any]) -> Applied:
        """From the answer to it."""
        metadata = deployment["metadata"]
        return cls(
            digest=objects.digest, replicas=replicas, uid=metadata["uid"], generation=metadata.get("generation") or 0
        )


def settled(there: Mapping[str, Any], wanted: PoolObjects, replicas: int, applied: Applied | None) -> bool:
    """
    Whether nothing is to be applied: this is what was applied last, and nobody has changed it since.

    `applied` is None before the first apply of this process: what somebody did before is not known, and applying
    what is there already changes nothing.
    """
    now = Applied.of(wanted, replicas, there)
    if applied is None or replace(applied, generation=now.generation) != now or applied.generation < now.generation:
        return False
    if applied.generation > now.generation:
        # From before the apply: the watch is about to say so.
        return True
    # Changes of metadata have no generation.
    metadata, ours = there["metadata"], wanted.deployment["metadata"]
    owners = {o.get("uid") for o in metadata.get("ownerReferences") or () if o.get("controller")}
    return (
        ours["labels"].items() <= labels_of(there).items()
        and ours["annotations"].items() <= annotations_of(there).items()
        and owners == {wanted.owner}
    )
