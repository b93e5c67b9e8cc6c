"""The adapter's metrics are its ledger."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from adapters.domain.copies import Copy, CopyKey, CopyState
from adapters.ledger import Ledger
from adapters.metrics import CONTENT_TYPE, exposition


def shown(ledger: Ledger) -> dict[str, float]:
    """Samples by name, the state of copies as part of it."""
    return {
        "/".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(ledger).decode())
        for sample in family.samples
    }


def test_a_fresh_adapter_shows_its_capacity() -> None:
    """And a zero for each state of a copy, so that none appears from nowhere."""
    read = shown(Ledger(total=100, epoch=7))
    assert {f"wml_adapter_copies/{state}" for state in CopyState} <= read.keys()
    assert (read["wml_adapter_capacity_bytes"], read["wml_adapter_reserved_bytes"]) == (100, 0)
    assert (read["wml_adapter_server_ready"], read["wml_adapter_epoch"]) == (0, 7)
    assert read["process_resident_memory_bytes"] > 1 << 20
    assert CONTENT_TYPE.startswith("text/plain")


def test_copies_and_bytes_are_those_of_the_ledger() -> None:
    """What was adopted counts with what it reserves; a drain shows."""
    ledger = Ledger(total=100)
    key = CopyKey(model="digits", uid="u", revision="r")
    ledger.server_ready("boot", [Copy(key=key, state=CopyState.LOADED, reserved=30)])
    ledger.drain()
    read = shown(ledger)
    assert read["wml_adapter_copies/Loaded"] == 1
    assert (read["wml_adapter_reserved_bytes"], read["wml_adapter_server_ready"]) == (30, 1)
    assert read["wml_adapter_draining"] == 1


def test_a_scrape_names_no_model() -> None:
    """There may be thousands of them."""
    ledger = Ledger(total=100)
    ledger.server_ready("boot", [Copy(key=CopyKey(model="digits", uid="u", revision="r"), state=CopyState.LOADED)])
    assert b"digits" not in exposition(ledger)
