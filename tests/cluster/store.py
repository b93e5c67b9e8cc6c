"""
A real S3 server in the cluster, and what puts objects into it: through its own API, as a user would.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from tests.cluster.cluster import Cluster
from tests.cluster.node import images
from tests.cluster.pods import pod
from tests.standalone.manifests import REGION, s3_entry

NAME: Final = "s3"
PORT: Final = 9000


class Store:
    """Its buckets live as long as its pod."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.access_key = f"AKIA{secrets.token_hex(8).upper()}"
        self.secret_key = f"very-secret-{secrets.token_hex(16)}"
        self._client: Any = None

    @property
    def endpoint(self) -> str:
        """For pods of any namespace."""
        return f"http://{NAME}.{self.cluster.namespace}.svc.cluster.local:{PORT}"

    def entry(self, **changes: str | None) -> dict[str, str]:
        """A complete entry of Secret storage-config for it, with changes; None takes a field away."""
        return s3_entry(self.endpoint, self.access_key, self.secret_key, **changes)

    @contextmanager
    def serving(self) -> Iterator[Store]:
        """Deploy it, and connect this process to it."""
        key = {"name": "RCLONE_AUTH_KEY", "value": f'"{self.access_key},{self.secret_key}"'}
        mounts = [{"name": "tmp", "mountPath": path} for path in ("/tmp", "/objects")]
        probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
        made = pod(NAME, images.S3.reference(), env=[key], volumeMounts=mounts, readinessProbe=probe)
        made["spec"]["restartPolicy"] = "Always"
        port = {"name": "http", "port": PORT}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": {"app": NAME}, "ports": [port]},
        }
        self.cluster.apply(made, service)
        address = self.cluster.until_condition("pod", NAME)["status"]["podIP"]
        with self.cluster.reach(address, PORT) as here:
            self._client = Session().create_client(
                "s3",
                endpoint_url=f"http://{here}",
                region_name=REGION,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 3}),
            )
            try:
                yield self
            finally:
                self._client.close()

    def put(self, uri: str, content: bytes | Path) -> str:
        """Put an object (bytes, or a file's) at `s3://bucket/key`; returns the URI."""
        bucket, key = _split(uri)
        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError:
            self._client.create_bucket(Bucket=bucket)
        body = content if isinstance(content, bytes) else content.read_bytes()
        self._client.put_object(Bucket=bucket, Key=key, Body=body)
        return uri

    def content(self, uri: str) -> bytes:
        """What is in one object."""
        bucket, key = _split(uri)
        content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def delete(self, uri: str) -> None:
        """Delete one object."""
        bucket, key = _split(uri)
        self._client.delete_object(Bucket=bucket, Key=key)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
