"""
The certificates of one node, made when it starts and gone with it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.cluster.node.place import NODE, NODE_IP, SERVICE_IP

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS: Final = ("-days", "30")

_KUBERNETES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
#: Name → subject and alternative names.
_CERTIFICATES: Final = {
    "apiserver": (
        "/CN=kube-apiserver",
        ",".join([*(f"DNS:{n}" for n in _KUBERNETES), *(f"IP:{a}" for a in ("127.0.0.1", SERVICE_IP, NODE_IP))]),
    ),
    "admin": ("/O=system:masters/CN=admin", "DNS:admin"),
    "kubelet": (f"/O=system:nodes/CN=system:node:{NODE}", f"DNS:{NODE},IP:{NODE_IP},IP:127.0.0.1"),
}


def make(directory: Path) -> None:
    """Make all of them in `directory`."""
    directory.mkdir(mode=0o700)
    _openssl("req", "-x509", *_KEY, *_DAYS, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", cwd=directory)
    for name, (subject, names) in _CERTIFICATES.items():
        files = ("-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", f"{name}.crt")
        extensions = ("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE")
        _openssl("req", "-x509", *_KEY, *_DAYS, *files, "-subj", subject, *extensions, cwd=directory)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "accounts.key", cwd=directory)
    _openssl("ec", "-in", "accounts.key", "-pubout", "-out", "accounts.pub", cwd=directory)


def _openssl(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(("openssl", *arguments), cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
