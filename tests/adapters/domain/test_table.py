"""The table of copies: sums and answers as if all copies were looked at each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import Copy, CopyKey, CopyState
from adapters.domain.table import Entry, Table

KEYS = [CopyKey(model, "u", revision) for model in "ab" for revision in "12"]
steps = st.tuples(st.sampled_from(["put", "set", "touch", "drop", "hold", "let go", "read"]), st.sampled_from(KEYS))


@given(st.lists(st.tuples(steps, st.integers(0, 9)), max_size=40))
def test_sums_holders_and_readers_are_right_after_any_changes(changes: list[tuple[tuple[str, CopyKey], int]]) -> None:
    """Against the plainest books; a reader that reads now and then knows what there is, each time it has read."""
    table, copies, holders = Table(max_gone=2), dict[CopyKey, Copy](), dict[str, CopyKey]()
    known: dict[CopyKey, Copy] = {}
    read = 0
    for (step, key), reserved in changes:
        copy = Copy(key=key, state=CopyState.LOADING, reserved=reserved)
        before = table.version
        match step:
            case "put":
                table.put(Entry(copy, 1, 1))
                copies[key] = copy
                holders = {model: held for model, held in holders.items() if held != key}
            case "set" if key in copies:
                table.set(copy)
                assert (table.version > before) == (copies[key] != copy)
                copies[key] = copy
            case "touch" if key in copies:
                table.touch(key)
                assert copies[key] in table.fresh(before).copies
            case "drop":
                table.drop(key)
                assert table.version > before
                copies.pop(key, None)
                holders = {model: held for model, held in holders.items() if held != key}
            case "hold" if key in copies:
                table.hold(key)
                holders[key.model] = key
            case "let go":
                table.let_go(key)
                holders = {model: held for model, held in holders.items() if held != key}
            case "read":
                fresh = table.fresh(read)
                read = table.version
                known = {} if fresh.full else {k: c for k, c in known.items() if k not in fresh.gone}
                known |= {c.key: c for c in fresh.copies}
                assert known == copies
            case _:
                pass
        assert table.reserved == sum(c.reserved for c in copies.values())
        assert {model: held for model in "ab" if (held := table.holder(model)) is not None} == holders
        assert {e.copy.key: e.copy for e in table} == copies
        assert table.fresh(0).copies == tuple(copies[k] for k in sorted(copies))
        assert table.fresh(table.version).copies == ()


def test_a_reader_gets_what_changed_and_no_more() -> None:
    """However many copies there are."""
    table = Table(max_gone=10)
    for number in range(1000):
        table.put(Entry(Copy(key=CopyKey(f"m{number}", "u", "1"), state=CopyState.LOADED), number, number))
    read = table.version
    table.touch(CopyKey("m7", "u", "1"))
    table.drop(CopyKey("m8", "u", "1"))
    fresh = table.fresh(read)
    assert ([c.key.model for c in fresh.copies], [k.model for k in fresh.gone], fresh.full) == (["m7"], ["m8"], False)
