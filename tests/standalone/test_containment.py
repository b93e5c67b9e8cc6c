"""
A model that takes its server down when it is loaded: its neighbours pay for it a few times, and then no more.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

import grpc
import pytest

from tests.standalone.client import CallError
from tests.standalone.faults import BACK_S, WARM, deaths, kill, moves, wait_started_again, wait_warm
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until
from tests.standalone.watch import watching


class Bomb:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (1,)


def test_model_that_crashes_its_server_is_given_up(battered: Stack, store: Store, models: Models) -> None:
    """
    It fails for good after a few crashes, its message says of what, and its neighbours lose what was in the server's hands.

    A controller that is started anew does not know how often it was tried: it is given up again after as many. Another
    object in its place is tried, and loads.
    """
    uri = store.put(models.uri("bomb/model.joblib"), pickle.dumps(Bomb()))
    before = moves(battered)["server_lost"]
    # Its neighbours wait through several starts of the server, and longer each time.
    with watching(battered, models, *WARM, deadline=90.0) as watch, deaths(battered, "mlserver-0.x") as died:
        wait_warm(watch)
        battered.apply(trained_model("bomb", uri, "sklearn"))
        wait_given_up(battered)
        said = battered.condition("bomb")
        assert (said.status, said.reason) == ("False", "ModelLoadFailed")
        assert uri in said.message
        assert "died while it loaded" in said.message
        assert moves(battered)["server_lost"] - before == 3
        with battered.client() as client, pytest.raises(CallError) as refused:
            client.classes("bomb", models.probes[:1], timeout=10)
        assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION

        controller = battered.processes("controller")
        kill(*controller)
        wait_started_again(battered, controller)
        wait_until(lambda: not given_up(battered), "it does not begin to count anew")
        wait_given_up(battered)
        lost = moves(battered)["server_lost"]
        assert lost - before <= 3 + 3
        wait_warm(watch)
        holds_for(lambda: moves(battered)["server_lost"] == lost, "it was tried again", seconds=10)
        store.put(uri, models.file("probe-3.joblib"))
        battered.wait_ready("bomb")
        assert len(died) == lost - before
        for each in died:
            watch.excuse(each, "warm-sklearn")
    watch.readiness.check("warm-onnx")
    battered.delete("bomb")
    battered.wait_gone("bomb")


def given_up(stack: Stack) -> bool:
    """Whether the status says so."""
    return "not tried again" in stack.condition("bomb").message


def wait_given_up(stack: Stack) -> None:
    """The status says that it will not be tried again."""
    wait_until(lambda: given_up(stack), lambda: f"{stack.condition('bomb')}", within=BACK_S)
