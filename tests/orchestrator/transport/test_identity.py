"""An identity in a kubelet's directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.transport.identity import IdentityFiles
from tests.identities import Authority, mount

AUTHORITY = Authority()


def test_what_a_kubelet_swaps_is_read_at_the_next_question(tmp_path: Path) -> None:
    """And not before it is asked."""
    first, second = AUTHORITY.identity("mesh"), AUTHORITY.identity("mesh")
    mount(tmp_path, first)
    files = IdentityFiles(tmp_path)
    assert files.current() == first
    mount(tmp_path, second)
    assert files.current() == second


def test_files_that_do_not_fit_together_leave_the_identity_as_it_was(tmp_path: Path) -> None:
    """Nor does a directory that is empty for a while. It is said once, and the key is not in it."""
    first, second = AUTHORITY.identity("mesh"), AUTHORITY.identity("mesh")
    mount(tmp_path, first)
    files = IdentityFiles(tmp_path)
    with capture_logs() as logs:
        (tmp_path / "tls.crt").unlink()
        assert files.current() == files.current() == first
        (tmp_path / "tls.crt").write_bytes(second.certificate)
        assert files.current() == files.current() == first
    assert [line["event"] for line in logs] == ["identity_unreadable"] * 2
    assert "PRIVATE" not in repr(logs)
    (tmp_path / "tls.key").unlink()
    (tmp_path / "tls.key").write_bytes(second.key)
    assert files.current() == second


@pytest.mark.parametrize("spoilt", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"noise"])
def test_where_there_is_no_identity_nothing_begins(tmp_path: Path, spoilt: str, content: bytes | None) -> None:
    """Rather than with nobody to trust."""
    mount(tmp_path, AUTHORITY.identity("mesh"))
    (tmp_path / spoilt).unlink()
    if content is not None:
        (tmp_path / spoilt).write_bytes(content)
    with pytest.raises(OSError):
        IdentityFiles(tmp_path)


def test_no_text_of_an_identity_has_its_key() -> None:
    """Whatever logs it."""
    assert "PRIVATE" not in repr(AUTHORITY.identity("mesh"))


async def test_who_waits_for_a_change_is_told(tmp_path: Path) -> None:
    """Not by a change of the files that leaves what they say."""
    first, second = AUTHORITY.identity("mesh"), AUTHORITY.identity("mesh")
    mount(tmp_path, first)
    files = IdentityFiles(tmp_path, poll_s=0.005)
    waiting = asyncio.create_task(files.changed(first))
    mount(tmp_path, first)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    mount(tmp_path, second)
    async with asyncio.timeout(10):
        await waiting
    assert files.current() == second
