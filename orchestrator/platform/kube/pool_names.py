"""
What the objects of a pool are called and labelled by, and whose pool an object is of.

A ServingRuntime's name may be longer than a label's value (63 characters). Such
a one is labelled by its beginning and a digest; an annotation has all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.platform.kube.names import (
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_RUNTIME,
    PRODUCT,
    RUNTIME,
)

#: On the objects of a pool, pods included: the whole name of their ServingRuntime.
ANNOTATION_RUNTIME: Final = LABEL_RUNTIME
#: What selects the pods of all pools.
SELECTOR: Final = f"{LABEL_MANAGED_BY}={PRODUCT},{LABEL_COMPONENT}={RUNTIME}"

_LABEL_LIMIT: Final = 63
#: A Deployment's, so that the names of its pods are whole, and good as host names.
_NAME_LIMIT: Final = 46


def pool_name(runtime: str) -> str:
    """Of the Deployment and of the PodDisruptionBudget."""
    return _short(f"{PRODUCT}-{runtime}", _NAME_LIMIT)


def selector_labels(runtime: str) -> dict[str, str]:
    """What tells the pods of one pool. A Deployment's selector can never change: nothing may be added here."""
    return {LABEL_MANAGED_BY: PRODUCT, LABEL_COMPONENT: RUNTIME, LABEL_RUNTIME: _short(runtime, _LABEL_LIMIT)}


def pool_labels(runtime: str) -> dict[str, str]:
    """Of all objects of a pool."""
    return {LABEL_NAME: PRODUCT, **selector_labels(runtime)}


def labels_of(raw: Mapping[str, Any]) -> Mapping[str, str]:
    """An object's labels, if it has any."""
    return raw["metadata"].get("labels") or {}


def annotations_of(raw: Mapping[str, Any]) -> Mapping[str, str]:
    """An object's annotations, if it has any."""
    return raw["metadata"].get("annotations") or {}


def is_pools(raw: Mapping[str, Any]) -> bool:
    """Whether the object says of itself that it is some pool's."""
    labels = labels_of(raw)
    return labels.get(LABEL_MANAGED_BY) == PRODUCT and labels.get(LABEL_COMPONENT) == RUNTIME


def runtime_of(raw: Mapping[str, Any]) -> str:
    """
    The ServingRuntime that an object of a pool is of; "" if it does not say.

    What it says may have been edited by hand, its name cannot be: of annotation and label, the one that its name agrees
    with. A pod's name is its Deployment's, and two parts that make it another's each time.
    """
    said = [annotations_of(raw).get(ANNOTATION_RUNTIME) or "", labels_of(raw).get(LABEL_RUNTIME) or ""]
    name = str(raw["metadata"].get("name") or "")
    names = {name, name.rsplit("-", 2)[0]}
    return next((runtime for runtime in said if runtime and pool_name(runtime) in names), said[0] or said[1])


def _short(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{text[: limit - len(digest) - 1].rstrip('.-')}-{digest}"
