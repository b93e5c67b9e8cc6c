"""What the tests of listings and downloads do: list, download, look at the files or at the failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.domain.copies import Credentials, Reason, Source
from adapters.domain.errors import LoadFailure
from adapters.domain.objects import files
from adapters.storage.s3 import S3Store

#: Longer than any test, for what is not about slowness.
PATIENCE_S = 300.0


async def fetch(
    s3: S3Store, where: Source, who: Credentials, into: Path, patience_s: float = PATIENCE_S
) -> dict[str, bytes]:
    """List and download; the files by relative path."""
    listing = await s3.list(where, who)
    await s3.download(where, who, files(listing, where.path, where.uri), into, patience_s)
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


async def failure(
    s3: S3Store, where: Source, who: Credentials, into: Path, patience_s: float = PATIENCE_S
) -> tuple[Reason, str]:
    """The failure of list and download; its message names the URI and no secret."""
    with pytest.raises(LoadFailure) as caught:
        await fetch(s3, where, who, into, patience_s)
    message = caught.value.failure.message
    assert message.startswith(f"{where.uri}: ")
    assert who.access_key_id not in message
    assert who.secret_access_key not in message
    assert len(message) <= 1024
    return caught.value.failure.reason, message
