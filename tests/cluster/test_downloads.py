"""
What is told of a model on its way, in order; and what becomes of a store's keys that are no names of files.

Both need a store that lies. What of its objects is written anywhere is found by what is in them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.lying import KEY, Lying, lying
from tests.cluster.product import Product, trained_model
from tests.cluster.warm import NUMBER, RUNTIME
from tests.cluster.watching import READY, Watching
from tests.standalone.waiting import wait_until

MARK: Final = "written-by-a-hostile-store"
#: Name of a model → key of an object below its prefix, and what is said of it.
HOSTILE: Final = {
    "climbs": ("bad/../../escape.joblib", "'..'"),
    "absolute": ("bad//etc/passwd", "absolute"),
    "elsewhere": ("/tmp/escape.joblib", "not below"),
    "nul": ("bad/a\0b.joblib", "control characters"),
    "line": ("bad/a\nb.joblib", "control characters"),
    "name": (f"bad/{'x' * 300}", "longer than 255 bytes"),
    "path": (f"bad/{'/'.join(['x' * 100] * 20)}", "longer than 1024 bytes"),
    "deep": (f"bad/{'d/' * 100}model.joblib", "nested"),
    "both": ("bad/model.joblib/inside", "a file itself"),
}


class Slow:
    """A model that takes its time to be loaded, and is none."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("__import__('time').sleep(5)",)


@pytest.fixture(scope="module")
def liar(warm: Product) -> Iterator[Lying]:
    """With a model that is slow all the way, and one with a hostile key for each of them."""
    hostile = {name: {key: MARK.encode()} for name, (key, _) in HOSTILE.items()}
    good = {"bad/model.joblib": MARK.encode()}
    slow = {"slow": {"model.joblib": pickle.dumps(Slow())}}
    with lying(warm, slow | {name: good | bad for name, bad in hostile.items()}) as liar:
        yield liar


def events(product: Product, name: str) -> list[tuple[str, int]]:
    """Reasons and counts, in the order in which the Events were made."""
    told = [e for e in product.cluster.all("events") if e["involvedObject"]["name"] == name]
    # Their times are whole seconds.
    told.sort(key=lambda e: int(e["metadata"]["resourceVersion"]))
    return [(e["reason"], e["count"]) for e in told]


def test_the_way_to_ready_is_told(warm: Product, liar: Lying, name: str) -> None:
    """Every step that lasts, as a condition and as an Event, once each and in order."""
    with (
        Watching(warm.cluster, "trainedmodels", READY) as watching,
        warm.model(name, "s3://slow/model.joblib", "sklearn", runtime=RUNTIME, key=KEY),
    ):
        told = warm.until_reason(name, "Downloading")
        assert "s3://slow/model.joblib" in told["message"]
        # What comes next is to be seen: kubectl may take its time to begin.
        watching.until(name, "False Downloading", since=0.0, within=60)
        liar.release()
        watching.until(name, "True Loaded", since=0.0, within=120)
        seen = [said for said, _ in groupby(watching.values(name)) if said]
        assert seen == ["False Downloading", "False Loading", "True Loaded"]
        reasons = [said.split()[1] for said in seen]
        wait_until(
            lambda: events(warm, name) == [(reason, 1) for reason in reasons], lambda: f"{events(warm, name)} is told"
        )


def traces(cluster: Cluster, pod: str, container: str) -> str:
    """What grep finds of the mark wherever the container may write, and how it ends."""
    look = f"grep -rl {MARK} /models /tmp; echo $?"
    gone = "2\n"

    def found() -> str:
        said = cluster.execute(pod, "sh", "-c", look, container=container)
        # Each of the models is tried again now and then, in a directory of its own, which may go while it is looked at.
        return said if said != gone else ""

    return wait_until(found, f"not all in {pod}/{container} can be read")


def test_hostile_keys_are_an_invalid_layout(warm: Product, liar: Lying) -> None:
    """
    Each is named, with what is wrong with it, and in an Event; of none anything is written, in either container of a
    pod, wherever they may write. From another store the model is ready.
    """
    cluster = warm.cluster
    liar.release()
    models = {f"hostile-{name}": said for name, said in HOSTILE.items()}
    try:
        cluster.apply(
            *(
                trained_model(model, f"s3://{model.removeprefix('hostile-')}/bad", "sklearn", runtime=RUNTIME, key=KEY)
                for model in models
            )
        )
        for model, (key, problem) in models.items():
            told = warm.until_reason(model, "InvalidModelLayout")["message"]
            assert problem in told, told
            assert repr(key)[1:40] in told, told
        # Written a little after the condition.
        wait_until(
            lambda: all("InvalidModelLayout" in dict(events(warm, model)) for model in models),
            "no Event says so",
            poll=1,
        )
        for pod in cluster.pods(f"wmlserving.ai.ibm.com/runtime={RUNTIME}"):
            for container in ("adapter", "mlserver"):
                # Nothing found, and all could be read.
                assert traces(cluster, pod["metadata"]["name"], container) == "1\n"
        good = warm.models.uri(f"probe-{NUMBER}.joblib")
        cluster.apply(*(trained_model(model, good, "sklearn", runtime=RUNTIME) for model in models))
        for model in models:
            warm.until_ready(model)
    finally:
        cluster.delete("trainedmodel", *models)
