"""Rooms for messages that are collected."""

from __future__ import annotations

import pytest

from orchestrator.mesh.room import WORKERS, rooms

MIB = 1 << 20


def test_the_less_there_is_left_the_smaller_the_room() -> None:
    """By default: all of 16 MiB for sixteen messages at once, and in the end what is not collected has, too."""
    made = rooms(max_heap_bytes=2048 * MIB, max_message_bytes=16 * MIB)
    assert [room.size for room in made.rooms] == [16 * MIB, 4 * MIB, MIB, MIB // 4]
    left, given = made.share, []
    for _ in range(200):
        size = next((room.size for room in made.rooms if left >= room.free), made.rooms[-1].size)
        left -= size
        given.append(size)
    assert given == sorted(given, reverse=True)
    assert given.count(16 * MIB) >= 16
    assert given.count(4 * MIB) >= 16
    assert given.count(MIB) >= 16


@pytest.mark.parametrize("largest", [1, 1000, 16 * MIB, 200 * MIB])
@pytest.mark.parametrize("heap", [64 * MIB, 2048 * MIB, 8192 * MIB])
def test_nobody_else_is_there(heap: int, largest: int) -> None:
    """Then there is room for the largest message; the last room is there always, and none is larger than a message."""
    made = rooms(max_heap_bytes=heap, max_message_bytes=largest)
    assert made.share >= made.rooms[0].free
    assert made.rooms[0].size == largest
    assert made.rooms[-1].free == 0
    assert all(room.size <= max(largest, 1) for room in made.rooms)
    assert [room.free for room in made.rooms] == sorted((room.free for room in made.rooms), reverse=True)


def test_rooms_leave_most_of_the_heap() -> None:
    """To what is not collected."""
    made = rooms(max_heap_bytes=2048 * MIB, max_message_bytes=16 * MIB)
    assert WORKERS * made.share < 1024 * MIB
