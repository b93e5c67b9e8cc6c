"""
How pip is told about the host's package index inside of a build, without a trace in the image: as build secrets.

A host may name an index, a proxy or a certificate authority of its own, in
pip's configuration or in the environment. Containerfile mounts the secrets
`pip` and `ca` where it runs pip; they are no layer, argument or variable.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Where Containerfile mounts the secret `ca`.
_CA: Final = "/run/secrets/ca"
_KEPT: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def settings() -> dict[str, str]:
    """What pip knows here, however it was told."""
    listed = subprocess.run(
        (sys.executable, "-m", "pip", "config", "list"), capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        # A command's own before what is for all; the environment last: the order in which pip lists them.
        found[key.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return found


@contextmanager
def secrets(directory: Path) -> Iterator[list[str]]:
    """Arguments of a build."""
    known = settings()
    bundle = known.get("cert") or next((path for path in _BUNDLES if os.path.exists(path)), "")
    lines = ["[global]", *(f"{name} = {known[name]}" for name in _KEPT if name in known)]
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    try:
        arguments = []
        if bundle:
            lines.append(f"cert = {_CA}")
            arguments += ["--secret", f"id=ca,src={bundle}"]
        config = directory / "pip.conf"
        config.write_text("\n".join([*lines, ""]), encoding="utf-8")
        yield [*arguments, "--secret", f"id=pip,src={config}"]
    finally:
        shutil.rmtree(directory)
