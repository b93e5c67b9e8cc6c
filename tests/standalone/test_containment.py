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
from tests.standalone.faults import BACK_S, WARM, moves, wait_warm
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
    It fails for good after a few crashes, its message says of what, and its neighbours serve on: READY, undisturbed.

    Another object in its place is tried, and loads.
    """
    uri = store.put(models.uri("bomb/model.joblib"), pickle.dumps(Bomb()))
    lost_before = moves(battered)["server_lost"]
    with watching(battered, models, "warm-onnx") as other:
        battered.apply(trained_model("bomb", uri, "sklearn"))
        wait_until(
            lambda: "not tried again" in battered.condition("bomb").message,
            lambda: f"{battered.condition('bomb')}",
            within=BACK_S,
        )
    other.readiness.check("warm-onnx")
    said = battered.condition("bomb")
    assert (said.status, said.reason) == ("False", "ModelLoadFailed")
    assert uri in said.message
    assert "died while it loaded" in said.message
    lost = moves(battered)["server_lost"]
    assert lost - lost_before == 3
    battered.wait_ready(*WARM)
    with battered.client() as client, pytest.raises(CallError) as refused:
        client.classes("bomb", models.probes[:1], timeout=10)
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        holds_for(lambda: moves(battered)["server_lost"] == lost, "it was tried again", seconds=10)
        store.put(uri, models.file("probe-3.joblib"))
        battered.wait_ready("bomb")
    watch.readiness.check(*WARM)
    battered.delete("bomb")
    battered.wait_gone("bomb")
