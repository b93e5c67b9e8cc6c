"""
What users do while the product cannot hear of it: a model created, one changed, one deleted.

    with Meanwhile(product, name) as changes:
        with product.cluster.out_of_reach():
            changes.make()
        changes.heard()
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final, Self

import grpc

from tests.cluster.product import MESH, PORT, Product, trained_model
from tests.cluster.warm import NUMBER, RUNTIME, witnessed
from tests.standalone.client import Client

#: Another prober than the one that all are in the end.
_BEFORE: Final = 2


class Meanwhile:
    """Three models of a test's own, of which two serve from the beginning; none is left when it is over."""

    def __init__(self, product: Product, name: str) -> None:
        self._product = product
        self.created, self._changed, self._deleted = (f"{name}-{what}" for what in ("created", "changed", "deleted"))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for each in (self._changed, self._deleted):
                stack.enter_context(self._product.model(each, self._uri(_BEFORE), "sklearn", runtime=RUNTIME))
            for each in (self._changed, self._deleted):
                self._product.until_ready(each)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._product.cluster.delete("trainedmodel", self.created)
        self._stack.close()

    def make(self) -> None:
        """Now, as the API server has it; nobody waits for the deletion to be done."""
        created, changed = (
            trained_model(each, self._uri(NUMBER), "sklearn", runtime=RUNTIME) for each in (self.created, self._changed)
        )
        self._product.cluster.apply(created, changed)
        self._product.cluster.delete("trainedmodel", self._deleted, wait=False)

    def heard(self, *, within: float = 120.0) -> None:
        """Wait until all that was made has come to be; what was there before is lost to no request."""
        self._product.until_ready(self.created, within=within)
        with witnessed(self._product, self.created, self._changed) as witness:
            pass
        witness.check()
        mesh = self._product.cluster.pods(MESH)[0]["status"]["podIP"]
        with self._product.cluster.reach(mesh, PORT) as address, Client(address) as client:
            # A model that is only missing from a list may be held for a minute: when others went so just before.
            self._product.until_refused(client, self._deleted, grpc.StatusCode.NOT_FOUND, within=within)

    def _uri(self, number: int) -> str:
        return self._product.models.uri(f"probe-{number}.joblib")
