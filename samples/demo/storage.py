"""
A real S3 server with credentials that live as long as it does, and the models in it.

Credentials are made anew for each run and reach the server by its environment
and the product by Secret `storage-config`; they are in no output.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aioboto3
import yaml
from botocore.config import Config

from samples.demo.process import DemoError, running, tail, words

BUCKET: Final = "example-models"
#: The key in the Secret that samples/*.yaml name.
SECRET_KEY: Final = "example-models"
REGION: Final = "us-east-1"

_START_S: Final = 20.0
_STARTED: Final = re.compile(r"Starting s3 server on \[(http://[^/\]]+)/?\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where the S3 server is, and who may use it."""

    endpoint: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)

    def secret(self) -> str:
        """Secret `storage-config` as YAML."""
        credentials = {
            "type": "s3",
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "endpoint_url": self.endpoint,
            "region": REGION,
            "default_bucket": BUCKET,
        }
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "storage-config"},
                "stringData": {SECRET_KEY: json.dumps(credentials)},
            }
        )

    async def upload(self, directory: Path, keys: Iterable[str]) -> None:
        """Put the files of `directory` into the bucket, under the same names."""
        session = aioboto3.Session()
        async with session.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            # The store is on this machine, whatever proxies the environment names.
            config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 3}),
        ) as client:
            await client.create_bucket(Bucket=BUCKET)
            for key in keys:
                await client.upload_file(str(directory / key), BUCKET, key)


@asynccontextmanager
async def serve(directory: Path, log: Path) -> AsyncIterator[Store]:
    """A store on a free port that keeps its objects in `directory`, which exists."""
    key, secret = secrets.token_hex(8), secrets.token_hex(20)
    rclone = str(Path(sys.executable).parent / "rclone")
    options = ("--config", "", "--addr", "127.0.0.1:0", "--dir-cache-time", "1ms")
    # By environment, since any user of the machine can read a command line. Quoted: rclone takes it for a line of CSV.
    environment = {"RCLONE_AUTH_KEY": f'"{key},{secret}"'}
    async with running(rclone, "serve", "s3", *options, str(directory), log=log, env=environment) as process:
        yield Store(endpoint=await _endpoint(process, log), access_key_id=key, secret_access_key=secret)


async def _endpoint(process: Process, log: Path) -> str:
    try:
        async with asyncio.timeout(_START_S):
            while (started := _STARTED.search(words(log))) is None:
                if process.returncode is not None:
                    raise DemoError(f"the S3 server ended with {process.returncode}:\n{tail(log)}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise DemoError(f"the S3 server did not start in {_START_S:.0f} s:\n{tail(log)}") from None
    return started[1]
