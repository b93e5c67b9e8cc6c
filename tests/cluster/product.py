"""
The product in the cluster, as its users have it: its objects, its port, and nothing of its insides.
"""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from tests.cluster.cluster import Cluster, condition_of
from tests.cluster.node import manifests
from tests.cluster.store import Store
from tests.standalone.client import CallError, Client
from tests.standalone.models import SAMPLES, Models
from tests.standalone.waiting import wait_until

#: Key of Secret storage-config that the samples name.
KEY: Final = "example-models"
PORT: Final = 8033
ADMIN_PORT: Final = 8080
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MESH: Final = "app.kubernetes.io/component=mesh"
LEASE: Final = "wml-serving-orchestrator"
ORCHESTRATOR: Final = "app.kubernetes.io/component=orchestrator"

Object = dict[str, Any]


def trained_model(name: str, uri: str, framework: str, *, runtime: str = "", key: str = KEY) -> Object:
    """A TrainedModel."""
    return {
        "apiVersion": "serving.kubeflow.org/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {"name": name, "annotations": {"wmlserving.ai.ibm.com/secret-key": key}},
        "spec": {
            "inferenceService": runtime,
            "model": {"storageUri": uri, "framework": framework, "memory": "256Mi"},
        },
    }


class Product:
    """In one namespace of a cluster, with a store."""

    def __init__(self, cluster: Cluster, store: Store, models: Models) -> None:
        self.cluster = cluster
        self.store = store
        self.models = models

    def apply_manifests(self) -> str:
        """The directory, in one command; what kubectl said."""
        with tempfile.TemporaryDirectory() as directory:
            self.render_manifests(Path(directory))
            return self.cluster.apply(Path(directory))

    def render_manifests(self, directory: Path) -> None:
        """Write them into the directory, with this build's images and for this namespace."""
        manifests.write(directory, namespace=self.cluster.namespace)

    def store_entry(self) -> str:
        """The store's entry of Secret storage-config, as JSON text."""
        return json.dumps(self.store.entry(default_bucket="models"))

    def upload_samples(self) -> None:
        """Put the samples' models where the samples' manifests say."""
        for path in SAMPLES.values():
            self.store.put(f"s3://{KEY}/{path}", self.models.file(path))

    def store_credentials(self, **entries: str) -> None:
        """Have Secret storage-config hold these keys beside the store's own, as JSON text."""
        data = {KEY: self.store_entry()} | entries
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "storage-config"}, "stringData": data}
        )

    @contextmanager
    def model(self, name: str, uri: str, framework: str, *, runtime: str = "", key: str = KEY) -> Iterator[Object]:
        """A TrainedModel, as long as it is used."""
        made = trained_model(name, uri, framework, runtime=runtime, key=key)
        self.cluster.apply(made)
        try:
            yield made
        finally:
            self.cluster.delete("trainedmodel", name)

    @contextmanager
    def setting(self, key: str, value: str) -> Iterator[None]:
        """A key of ConfigMap wml-serving-config, as long as it is used."""
        self.cluster.patch("configmap", manifests.CONFIG, {"data": {key: value}})
        try:
            yield
        finally:
            self.cluster.patch("configmap", manifests.CONFIG, {"data": {key: None}})

    def until_ready(self, name: str, *, within: float = 120.0) -> Object:
        """The TrainedModel once its Ready condition is True."""
        return self.cluster.until_condition("trainedmodel", name, within=within)

    def until_reason(self, name: str, reason: str, *, condition: str = "Ready", within: float = 120.0) -> Object:
        """The condition once it has that reason."""
        found = self.cluster.until(
            "trainedmodel",
            name,
            lambda o: condition_of(o, condition).get("reason") == reason,
            f"has no {condition} for {reason}",
            within=within,
        )
        return condition_of(found, condition)

    def live(self, name: str) -> Object:
        """What the admin API says of the model, copies and all; of a replica that can say so, once one can."""
        problems: list[str] = []
        return wait_until(
            lambda: self._live(name, problems), lambda: f"no replica knows {name}: {problems[-2:]}", within=60, poll=1
        )

    def _live(self, name: str, problems: list[str]) -> Object:
        # One that was made just now has no address yet.
        for pod in (pod for pod in self.cluster.pods(ORCHESTRATOR) if "podIP" in pod["status"]):
            with self.cluster.reach(pod["status"]["podIP"], ADMIN_PORT) as address:
                try:
                    with _DIRECT.open(f"http://{address}/v1/trainedmodels/{name}", timeout=10) as answer:
                        said: Object = json.load(answer)
                        return said
                except OSError as error:
                    problems.append(str(error))
        return {}

    def holder(self) -> str:
        """Who has the lease, as it says; empty if nobody has."""
        return self.cluster.get("lease", LEASE)["spec"].get("holderIdentity") or ""

    def leader(self) -> Object:
        """The pod that has the lease."""
        return self.cluster.get("pod", self.holder().partition("_")[0])

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of one of the Envoys."""
        with self.cluster.port_forward("service/wml-serving", PORT) as address, Client(address) as client:
            yield client

    def until_refused(self, client: Client, name: str, code: grpc.StatusCode, *, within: float = 30.0) -> None:
        """Return once requests for the model are refused with that code."""

        def refused() -> bool:
            try:
                client.infer(name, self.models.images[:1], headers={"mm-vmodel-id": name})
            except CallError as error:
                return error.code is code
            return False

        wait_until(refused, f"{name} is not refused with {code.name}", within=within)
