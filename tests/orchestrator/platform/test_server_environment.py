"""What both platforms tell a model server."""

from __future__ import annotations

from orchestrator.platform.server_environment import IN_MLSERVER, MLSERVER, placed_mlserver


def test_the_repository_class_is_where_it_is_said_to_be() -> None:
    """Else MLServer would not start."""
    module, _, name = MLSERVER["MLSERVER_MODEL_REPOSITORY_IMPLEMENTATION"].partition(".")
    assert f"class {name}:" in (IN_MLSERVER / f"{module}.py").read_text()


def test_all_that_mlserver_writes_is_below_one_directory() -> None:
    """The rest of its file system may be read-only."""
    said = placed_mlserver(7, "/w")
    assert said["MLSERVER_GRPC_PORT"] == "7"
    assert {value for name, value in said.items() if name.endswith("_DIR")} == {"/w/metrics", "/w/environments"}


def test_what_a_servingruntime_may_say_is_apart_from_what_the_place_says() -> None:
    """Each is said once."""
    assert not MLSERVER.keys() & placed_mlserver(7, "/w").keys()
