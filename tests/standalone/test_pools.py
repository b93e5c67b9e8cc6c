"""
Pools from zero: a server process when a model needs one, and none when no model does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import yaml

from tests.documents import own_serving_runtime
from tests.standalone.manifests import Document, serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.servers import adapter_pids, runtime_of
from tests.standalone.stack import Stack
from tests.standalone.waiting import holds_for, wait_until
from tests.trees import files_below

GRACE_S = 3.0


def pids(stack: Stack, *roles: str) -> set[int]:
    """The processes with these roles."""
    return {p.pid for p in stack.processes(*roles)}


def test_pool_lives_as_long_as_models_need_it(make_stack: Callable[..., Stack], models: Models) -> None:
    """
    No server at first; the first model launches one; the next reuse it; it stops a grace time after the last is gone.

    A model that comes within the grace time finds the same server; one after it, a new one.
    """
    with make_stack(pool_grace=GRACE_S) as stack:
        holds_for(lambda: not pids(stack, "triton", "mlserver", "adapter"), "a server without a model", seconds=0.5)

        stack.apply(trained_model("first", models.sample("sklearn"), "sklearn"))
        said = stack.wait_condition("first", "RuntimeStarting")
        assert "mlserver-0.x" in said.message
        stack.wait_ready("first")
        servers = pids(stack, "mlserver")
        assert len(servers) == 1
        assert not pids(stack, "triton")

        stack.apply(trained_model("second", models.sample("xgboost"), "xgboost"))
        stack.wait_ready("second")
        assert pids(stack, "mlserver") == servers

        stack.delete("first", "second")
        stack.wait_gone("second")
        stack.apply(trained_model("third", models.sample("sklearn"), "sklearn"))
        stack.wait_ready("third")
        assert pids(stack, "mlserver") == servers

        needed = time.monotonic()
        stack.delete("third")
        stack.wait_gone("third")
        wait_until(lambda: not pids(stack, "mlserver", "adapter"), "the pool does not stop", within=GRACE_S + 10)
        assert time.monotonic() - needed > GRACE_S
        # They go when its processes have ended.
        wait_until(
            lambda: "digits.joblib" not in {path.name for path in files_below(stack.state)},
            "files of a pool that is gone",
        )

        stack.apply(trained_model("fourth", models.sample("sklearn"), "sklearn"))
        stack.wait_ready("fourth")
        assert pids(stack, "mlserver").isdisjoint(servers)


@pytest.mark.parametrize(
    ("made", "framework"),
    [
        (yaml.safe_load(own_serving_runtime()), "sklearn"),
        (serving_runtime("users-triton", "triton", ["onnx"]), "onnx"),
    ],
)
def test_serving_runtime_of_the_users_runs_by_its_server_type(
    line: dict[str, str], shared: Stack, models: Models, name: str, made: Document, framework: str
) -> None:
    """A named runtime, the documentation's or another, gets a server of its own, whatever its image; the built-in ones are not touched."""
    runtime = made["metadata"]["name"]
    before = adapter_pids(shared, runtime_of(framework))
    shared.apply(made)
    shared.apply(trained_model(name, models.sample(framework), framework, runtime=runtime))
    shared.wait_ready(name)
    assert len(adapter_pids(shared, runtime)) == 1
    assert adapter_pids(shared, runtime_of(framework)) == before
    assert shared.status(name)["runtime"] == runtime
    with shared.client() as client:
        theirs = client.classes(name, models.images)
        builtin = client.classes(line[framework], models.images)
    assert list(theirs) == list(builtin)
    shared.delete(name)
    shared.wait_gone(name)
    shared.remove(f"servingruntime-{runtime}.yaml")
