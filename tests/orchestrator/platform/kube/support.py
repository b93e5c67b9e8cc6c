"""Parts of the platform on some API server, as the tests of several modules want them."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any, Final

from orchestrator.domain.trained_model import API_VERSION
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.events import EventRecorder
from orchestrator.platform.kube.paths import group
from orchestrator.platform.kube.source import KubeSource
from tests.orchestrator.builders import make_condition, make_status

NAMESPACE: Final = "wml-serving"
MODELS: Final = group(API_VERSION, "trainedmodels", NAMESPACE)
#: With every field set, each to something else.
FULL_STATUS: Final = make_status(
    make_condition(message="served by r"),
    make_condition("UpToDate", "Unknown", "Loading", "on its way"),
    active="revision",
    url="grpc://x",
    observed_generation=1,
    runtime="r",
    active_framework="f",
    active_runtime="ar",
    active_secret_key="k",
    active_reload="1",
)


def make_recorder(api: KubeApi, namespace: str = NAMESPACE, **fields: Any) -> EventRecorder:
    """With a real clock, unless told otherwise."""
    values: dict[str, Any] = {
        "identity": "pod-1",
        "timestamp": lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "new_suffix": lambda: uuid.uuid4().hex[:16],
        "clock": time.monotonic,
        "random": random.random,
    }
    return EventRecorder(api, namespace=namespace, **values | fields)


def make_source(api: KubeApi, recorder: EventRecorder, **fields: Any) -> KubeSource:
    """Of `NAMESPACE`, with the built-in runtimes."""
    return KubeSource(
        api,
        namespace=NAMESPACE,
        recorder=recorder,
        builtins=builtin_manifests(),
        clock=time.monotonic,
        random=random.random,
        **fields,
    )
