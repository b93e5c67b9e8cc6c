"""What happens first when memory runs short."""

from __future__ import annotations

from orchestrator.mesh.overload import overload


def test_the_largest_are_reset_before_anybody_is_refused() -> None:
    """And refusal begins below the heap that the container has: the kernel is never first."""
    made = overload(max_heap_bytes=1 << 30, max_connections=7)
    (reset,) = (a for a in made["actions"] if a["name"].endswith("reset_high_memory_stream"))
    (refuse,) = (a for a in made["actions"] if a["name"].endswith("stop_accepting_requests"))
    scaled, refused = reset["triggers"][0]["scaled"], refuse["triggers"][0]["threshold"]["value"]
    assert scaled["scaling_threshold"] < scaled["saturation_threshold"] < refused < 1
    heap, connections = (each["typed_config"] for each in made["resource_monitors"])
    assert heap["max_heap_size_bytes"] == 1 << 30
    assert connections["max_active_downstream_connections"] == 7
