"""
Secret `storage-config`: each key holds a JSON document with the credentials of one store.

The values here hold secrets, but their repr does not show them, so that no log
line, traceback or assertion can.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.text import is_text

SECRET_NAME: Final = "storage-config"

_REQUIRED: Final = ("type", "access_key_id", "secret_access_key", "endpoint_url")
_OPTIONAL: Final = ("region", "default_bucket", "certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to reach one S3 store."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    endpoint_url: str
    region: str = ""
    default_bucket: str = ""
    #: PEM of the authority that signed the endpoint's certificate; "" = the system's.
    certificate: str = field(default="", repr=False)

    @property
    def version(self) -> str:
        """Changes whenever any field does. Kept in memory only: a digest of a secret is half a secret."""
        parts = (
            self.access_key_id,
            self.secret_access_key,
            self.endpoint_url,
            self.region,
            self.default_bucket,
            self.certificate,
        )
        return hashlib.sha256("".join(f"{len(p)}:{p}" for p in parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The Secret's data as it was last seen: key → JSON text."""

    entries: Mapping[str, str] = field(repr=False)
    #: Keys whose values are not text.
    not_text: frozenset[str] = frozenset()


def find_credentials(secret: StorageConfig | None, key: str) -> Credentials:
    """
    The credentials under `key`.

    Raises ModelProblem: StorageConfigMissing without a Secret, StorageKeyNotFound,
    StorageConfigInvalid naming the missing field. The text of the Secret never
    reaches a message.
    """
    if secret is None:
        raise ModelProblem(
            Reason.STORAGE_CONFIG_MISSING, f"no Secret {SECRET_NAME!r} here; create it with the key {key!r}"
        )

    def invalid(problem: str) -> ModelProblem:
        return ModelProblem(Reason.STORAGE_CONFIG_INVALID, f"Secret {SECRET_NAME!r}, key {key!r}: {problem}")

    if key in secret.not_text:
        raise invalid("not text in UTF-8")
    text = secret.entries.get(key)
    if text is None:
        raise ModelProblem(
            Reason.STORAGE_KEY_NOT_FOUND,
            f"Secret {SECRET_NAME!r} has no key {key!r}; add it, or name another in the annotation "
            "wmlserving.ai.ibm.com/secret-key",
        )
    try:
        parsed, readable = json.loads(text), True
    except (ValueError, RecursionError):
        # Raised below and not here: the parser's error holds the whole text, and must not be another's context.
        parsed, readable = None, False
    if not readable:
        raise invalid("not valid JSON")
    if not isinstance(parsed, dict):
        raise invalid("not a JSON object")
    if parsed.get("type") not in (None, "", "s3"):
        # Checked before the other fields: another type of store has different ones.
        raise invalid("field 'type' must be 's3'")
    for name in _REQUIRED:
        value = parsed.get(name)
        if value is None or value == "":
            raise invalid(f"field {name!r} is missing")
    for name in (*_REQUIRED, *_OPTIONAL):
        value = parsed.get(name) or ""
        if not isinstance(value, str) or not is_text(value):
            raise invalid(f"field {name!r} is not a string")
    if not parsed["endpoint_url"].startswith(("http://", "https://")):
        raise invalid("field 'endpoint_url' must begin with http:// or https://")
    if not _has_host(parsed["endpoint_url"]):
        raise invalid("field 'endpoint_url' names no host, or one that cannot be read")
    return Credentials(
        access_key_id=parsed["access_key_id"],
        secret_access_key=parsed["secret_access_key"],
        endpoint_url=parsed["endpoint_url"],
        region=parsed.get("region") or "",
        default_bucket=parsed.get("default_bucket") or "",
        certificate=parsed.get("certificate") or "",
    )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # urlsplit reads the port only when it is asked for, and raises then.
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
