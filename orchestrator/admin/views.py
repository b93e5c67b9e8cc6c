"""
A model as the admin API shows it: the object with its status, and the live state that no status stores.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.admin.term_view import Use
from orchestrator.domain.fleet import Copy, PodView
from orchestrator.domain.trained_model import API_VERSION, KIND, TrainedModel, render_status


def object_view(model: TrainedModel) -> dict[str, Any]:
    """The TrainedModel as `kubectl get -o json` prints one."""
    metadata = dict(model.raw.get("metadata") or {"name": model.name})
    metadata |= {
        "namespace": model.namespace,
        "uid": model.uid,
        "generation": model.generation,
        "creationTimestamp": model.created,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": model.raw.get("spec") or {},
        "status": render_status(model.status),
    }


def live_view(copies: Iterable[Copy], pods: dict[str, PodView], use: Use) -> dict[str, Any]:
    """Where the model is now: copies with their pods, states, bytes and durations in seconds; and how it is used."""
    return {
        "idleSeconds": use.idle_s,
        "requestsPerSecond": use.requests_per_s,
        "copies": [
            {
                "pod": pods[c.pod].pod.name if c.pod in pods else c.pod,
                "revision": c.key.revision,
                "state": c.state.value,
                "reservedBytes": c.reserved,
                "downloadSeconds": c.download_s,
                "loadSeconds": c.load_s,
            }
            for c in copies
        ],
    }
