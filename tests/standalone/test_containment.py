"""
A model that takes its server down when it is loaded: its neighbours pay for it a few times, and then no more.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Final

import grpc
import pytest

from tests.standalone.client import CallError
from tests.standalone.faults import BACK_S, WARM, deaths, kill, moves, wait_started_again, wait_warm
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Condition, Stack
from tests.standalone.store import Store
from tests.standalone.waiting import holds_for, wait_until
from tests.standalone.watch import Watch, watching

#: So many deaths of its server are to be contained. Nothing but a change has the load tried again after the third.
DEATHS: Final = 10


#: A model of Triton's own Python backend, whose process is Triton's child.
TRITON_CONFIG: Final = b"""
backend: "python"
input [{ name: "digits", data_type: TYPE_FP32, dims: [ -1, 64 ] }]
output [{ name: "label", data_type: TYPE_INT64, dims: [ -1 ] }]
instance_group [{ count: 1 }]
"""
TRITON_BOMB: Final = b"""
import os, signal


class TritonPythonModel:
    def initialize(self, args):
        os.kill(os.getppid(), signal.SIGKILL)
"""


class Bomb:
    """Ends the process that unpickles it."""

    def __init__(self, code: int = 1) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (self.code,)


class Contained:
    """The stack with a bomb in it; after each look it is given up, and the others serve."""

    def __init__(self, stack: Stack, models: Models, watch: Watch) -> None:
        self.stack = stack
        self._models = models
        self._watch = watch
        self._before = moves(stack)["server_lost"]
        #: How often the server has died.
        self.lost = 0

    def look(self) -> Condition:
        """Its condition, once its load has taken the server down again, has been given up, and the others answer."""
        wait_until(lambda: self._lost() > self.lost, "it is not tried", within=BACK_S)
        wait_until(lambda: given_up(self.stack), lambda: f"{self.stack.condition('bomb')}", within=BACK_S)
        wait_warm(self._watch)
        self.lost = self._lost()
        said = self.stack.condition("bomb")
        assert (said.status, said.reason) == ("False", "ModelLoadFailed")
        with self.stack.client() as client, pytest.raises(CallError) as refused:
            client.classes("bomb", self._models.probes[:1], timeout=10)
        assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
        return said

    def settled(self) -> bool:
        """Whether it was not tried again since."""
        return self._lost() == self.lost

    def _lost(self) -> int:
        return moves(self.stack)["server_lost"] - self._before


def test_model_that_crashes_its_server_is_given_up(battered: Stack, store: Store, models: Models) -> None:
    """
    It fails for good after three deaths of the server, its message says of what, and its neighbours lose what was in the
    server's hands; neither requests nor time have it tried again.

    What does is contained as well, up to ten deaths: a controller that does not know how often it was tried and the
    annotation `reload` begin anew, another object in its place that is as bad is tried once. A good one loads.
    """
    uri = store.put(models.uri("bomb/model.joblib"), pickle.dumps(Bomb()))
    # Its neighbours wait through several starts of the server, and longer each time.
    with watching(battered, models, *WARM, deadline=90.0) as watch, deaths(battered, "mlserver-0.x") as died:
        wait_warm(watch)
        contained = Contained(battered, models, watch)
        battered.apply(trained_model("bomb", uri, "sklearn"))
        said = contained.look()
        assert uri in said.message
        assert "died while it loaded" in said.message
        assert contained.lost == 3

        controller = battered.processes("controller")
        kill(*controller)
        wait_started_again(battered, controller)
        # Not "until it is not given up": one death, two seconds after the controller's first look, and it is again.
        contained.look()
        assert contained.lost <= 3 + 3
        holds_for(contained.settled, "it was tried again", seconds=10)

        before = contained.lost
        battered.apply(trained_model("bomb", uri, "sklearn", annotations={"wmlserving.ai.ibm.com/reload": "2"}))
        wait_until(lambda: not given_up(battered), "it does not begin to count anew")
        contained.look()
        assert contained.lost == before + 3

        while contained.lost < DEATHS:
            before = contained.lost
            store.put(uri, pickle.dumps(Bomb(before)))
            contained.look()
            assert contained.lost == before + 1
        store.put(uri, models.file("probe-3.joblib"))
        battered.wait_ready("bomb")
        assert contained.settled()
        assert len(died) == DEATHS
        for each in died:
            watch.excuse(each, "warm-sklearn")
    watch.readiness.check("warm-onnx")
    battered.delete("bomb")
    battered.wait_gone("bomb")


def test_model_that_crashes_triton_is_given_up(battered: Stack, store: Store, models: Models) -> None:
    """Triton, too, is taken down three times and no more; its other model is served in between, and MLServer's throughout."""
    uri = models.uri("bomb/repository")
    store.put(f"{uri}/config.pbtxt", TRITON_CONFIG)
    store.put(f"{uri}/1/model.py", TRITON_BOMB)
    with watching(battered, models, *WARM, deadline=90.0) as watch, deaths(battered, "triton-2.x") as died:
        wait_warm(watch)
        contained = Contained(battered, models, watch)
        battered.apply(trained_model("bomb", uri, "onnx"))
        said = contained.look()
        assert uri in said.message
        assert "died while it loaded" in said.message
        wait_until(lambda: len(died) == contained.lost, lambda: f"{died}")
        assert contained.lost == 3
        for each in died:
            watch.excuse(each, "warm-onnx")
        holds_for(contained.settled, "it is tried again", seconds=10)
    watch.readiness.check("warm-sklearn")
    battered.delete("bomb")
    battered.wait_gone("bomb")


def given_up(stack: Stack) -> bool:
    """Whether the status says that it will not be tried again."""
    return "not tried again" in stack.condition("bomb").message
