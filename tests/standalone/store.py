"""
A real S3 server over a directory, whose buckets are its subdirectories.

Objects are put behind the server's back, by rename: what it lists is always whole.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.leash import leashed
from tests.standalone.manifests import s3_entry
from tests.standalone.waiting import wait_until

_RCLONE: Final = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "rclone"
_READY: Final = re.compile(r"Starting s3 server on \[http://127\.0\.0\.1:(\d+)/\]")


class Store:
    """Serves `root`/objects until stopped."""

    def __init__(self, root: Path, *, access_key: str, secret_key: str) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.port = 0
        self._objects = root / "objects"
        self._objects.mkdir(parents=True)
        self._output = root / "rclone.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it serves, once started."""
        return f"http://127.0.0.1:{self.port}"

    def entry(self, **changes: str | None) -> dict[str, str]:
        """A complete entry of Secret storage-config for it, with changes; None takes a field away."""
        return s3_entry(self.endpoint, self.access_key, self.secret_key, **changes)

    def start(self) -> None:
        """Returns when it serves; the key goes by the environment, since a command line is public."""
        environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}
        # What somebody else puts into the directory is seen at once. With 0s it is, too, and rclone is busy for ever after.
        command = [str(_RCLONE), "serve", "s3", "--config", "", "--addr", "127.0.0.1:0", "--dir-cache-time", "1ms"]
        with self._output.open("wb") as output:
            command = leashed([*command, str(self._objects)])
            self._process = subprocess.Popen(command, stderr=output, env=environment)
        ports = wait_until(lambda: _READY.findall(self._output.read_text()), "the S3 server did not start", within=15)
        self.port = int(ports[0])

    def stop(self) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def bucket(self, name: str) -> Path:
        """The directory that is this bucket, made if need be."""
        path = self._objects / name
        path.mkdir(exist_ok=True)
        return path

    def put(self, uri: str, content: bytes | Path) -> str:
        """Put an object (bytes, or a file's) at `s3://bucket/key`; returns the URI."""
        target = self._path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = self._objects.parent / "draft"
        if isinstance(content, bytes):
            draft.write_bytes(content)
        else:
            shutil.copyfile(content, draft)
        draft.replace(target)
        return uri

    def content(self, uri: str) -> bytes:
        """What is in one object."""
        return self._path(uri).read_bytes()

    def delete(self, uri: str) -> None:
        """Delete one object."""
        self._path(uri).unlink()

    def _path(self, uri: str) -> Path:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.bucket(bucket) / key
