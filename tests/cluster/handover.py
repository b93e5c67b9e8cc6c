"""
In which order copies came and went, as the adapters themselves say it.

What a client sees does not tell a model that was handed over from one that was
dropped: its request is held, and the model loaded again for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tests.cluster.cluster import Cluster, KubectlError
from tests.cluster.product import Product
from tests.log_lines import events

RUNTIMES: Final = "app.kubernetes.io/component=runtime"
_STEPS: Final = {"copy_loaded": True, "copy_unloaded": False}


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """A server has a model from this moment on, or has it no more."""

    at: datetime
    pod: str
    model: str
    loaded: bool


def steps(cluster: Cluster, selector: str = RUNTIMES) -> list[Step]:
    """All that pods which are there say of what they have done, oldest first."""
    return _read({name: _log(cluster, name) for name in _names(cluster, selector)})


def holders(told: Iterable[Step], model: str, until: datetime | None = None) -> set[str]:
    """The pods that have the model, in the end or just before a moment."""
    found: set[str] = set()
    for step in told:
        if step.model == model and (until is None or step.at < until):
            (found.add if step.loaded else found.discard)(step.pod)
    return found


@contextmanager
def handed_over(product: Product, runtime: str, *models: str) -> Iterator[None]:
    """
    Raises AssertionError unless pods of the runtime went meanwhile, and another pod had what each of them had before that gave it up.

    Of `models`, with clocks of nodes that agree. The log of a pod ends with it, so that it is followed.
    """
    cluster, selector = product.cluster, f"wmlserving.ai.ibm.com/runtime={runtime}"
    before = steps(cluster, selector)
    with ExitStack() as stack:
        files, follows = {}, {}
        for name in _names(cluster, selector):
            files[name] = stack.enter_context(tempfile.TemporaryFile("w+"))
            argv = ("kubectl", "--namespace", cluster.namespace, "logs", "--follow", name, "-c", "adapter")
            follows[name] = cluster.start(*argv, output=files[name])
            stack.callback(follows[name].wait)
            stack.callback(follows[name].kill)
        yield
        left = files.keys() - _names(cluster, selector)
        assert left, "no pod went"
        for name in left:
            follows[name].wait(30)
            files[name].seek(0)
        told = sorted([*_read({name: files[name].read() for name in left}), *steps(cluster, selector)])
    given_up = [s for s in told if s not in before and s.pod in left and s.model in models and not s.loaded]
    had = {(pod, model) for model in models for pod in holders(before, model) & left}
    assert had, f"{left} had none of {models}"
    assert had <= {(s.pod, s.model) for s in given_up}, f"not all of {had} is given up: {given_up}"
    for step in given_up:
        assert holders(told, step.model, step.at) - {step.pod}, f"{step} leaves it nowhere: {told}"


def _names(cluster: Cluster, selector: str) -> set[str]:
    """All pods, those on their way out as well."""
    return {pod["metadata"]["name"] for pod in cluster.all("pods", selector)}


def _log(cluster: Cluster, pod: str) -> str:
    try:
        return cluster.logs(pod, "-c", "adapter")
    except KubectlError:
        # It has not begun, or has gone: it says nothing.
        return ""


def _read(logs: Mapping[str, str]) -> list[Step]:
    return sorted(
        Step(datetime.fromisoformat(line["timestamp"]), pod, line["trained_model"], _STEPS[line["event"]])
        for pod, log in logs.items()
        for line in events(log)
        if line["event"] in _STEPS
    )
