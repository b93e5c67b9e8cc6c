"""Built-in runtimes in a cluster: there, up to date, and nobody's own taken from him."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.serving_runtime import API_VERSION
from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube.answers import ApiError, ApiUnreachable, Raw
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.builtin_keeper import BuiltinKeeper, as_edited
from orchestrator.platform.kube.names import LABEL_MANAGED_BY, PRODUCT
from orchestrator.platform.kube.paths import group
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, Lost, fake_api
from tests.orchestrator.platform.kube.support import NAMESPACE

TRITON = "triton-2.x"
PATH = group(API_VERSION, "servingruntimes", NAMESPACE, TRITON)
CONFLICT = "Apply failed with 1 conflict"


@dataclass
class Bench:
    fake: FakeApi
    keeper: BuiltinKeeper

    def applied(self) -> list[Raw]:
        return [call.body for call in self.fake.calls if call.verb == "apply"]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=5.0) as api:
        yield Bench(fake, BuiltinKeeper(api, NAMESPACE, builtin_manifests()))


def ours(bench: Bench) -> None:
    bench.fake.store.put(PATH, {"metadata": {"labels": {LABEL_MANAGED_BY: PRODUCT}}, "spec": {"containers": []}})


def conflict(*fields: str) -> Answer:
    causes = [{"reason": "FieldManagerConflict", "field": field} for field in fields]
    status = {"kind": "Status", "code": 409, "reason": "Conflict", "message": CONFLICT, "details": {"causes": causes}}
    return Answer(409, status)


async def test_one_that_is_missing_is_created(bench: Bench) -> None:
    """With our label; again, it is the same."""
    raw = await bench.keeper.ensure(TRITON)
    assert raw is not None
    assert raw["metadata"]["labels"][LABEL_MANAGED_BY] == PRODUCT
    assert raw["spec"] == builtin_manifests()[TRITON]["spec"]
    again = await bench.keeper.ensure(TRITON)
    assert again is not None
    assert again["metadata"]["resourceVersion"] == raw["metadata"]["resourceVersion"]
    # Nobody's fields are taken by force.
    assert {call.query["force"] for call in bench.fake.calls if call.verb == "apply"} == {"false"}


async def test_one_of_ours_gets_the_new_definition(bench: Bench) -> None:
    """After an upgrade. What is not in the definition stays, such as spec.disabled."""
    ours(bench)
    bench.fake.store.merge(PATH, {"spec": {"disabled": True}})
    raw = await bench.keeper.ensure(TRITON)
    assert raw is not None
    assert raw["spec"] == builtin_manifests()[TRITON]["spec"] | {"disabled": True}


async def test_the_users_own_of_that_name_is_left_alone(bench: Bench) -> None:
    """It has not our label; that is said once."""
    bench.fake.store.put(PATH, {"metadata": {"labels": {}}, "spec": {"containers": []}})
    with capture_logs() as lines:
        for _ in range(2):
            raw = await bench.keeper.ensure(TRITON)
            assert raw is not None
            assert raw["spec"] == {"containers": []}
    assert bench.applied() == []
    assert [line["event"] for line in lines] == ["builtin_runtime_is_the_users"]


async def test_what_a_user_has_changed_is_the_users(bench: Bench) -> None:
    """A field, or a whole list; all beside it stays, and stays ours, however often we start. That is said once."""
    await bench.keeper.ensure(TRITON)
    expected = copy.deepcopy(builtin_manifests()[TRITON]["spec"])
    edit = {"builtInAdapter": {"modelLoadingTimeoutMillis": 600_000}, "supportedModelFormats": [{"name": "onnx"}]}
    bench.fake.store.merge(PATH, {"spec": edit})
    expected["builtInAdapter"]["modelLoadingTimeoutMillis"] = 600_000
    expected["supportedModelFormats"] = [{"name": "onnx"}]
    with capture_logs() as lines:
        for _ in range(3):
            raw = await bench.keeper.ensure(TRITON)
            assert raw is not None
            assert raw["spec"] == expected
    assert [line["event"] for line in lines] == ["builtin_runtime_edited"]


async def test_what_a_user_has_not_changed_gets_the_new_definition(bench: Bench) -> None:
    """Right beside what has been changed: new values come, and what is not in it any more goes."""
    before = copy.deepcopy(builtin_manifests()[TRITON])
    before["spec"]["builtInAdapter"] |= {"memBufferBytes": 1, "former": 1}
    await BuiltinKeeper(bench.keeper._api, NAMESPACE, {TRITON: before}).ensure(TRITON)
    bench.fake.store.merge(PATH, {"spec": {"builtInAdapter": {"modelLoadingTimeoutMillis": 600_000}}})
    raw = await bench.keeper.ensure(TRITON)
    assert raw is not None
    expected = builtin_manifests()[TRITON]["spec"]["builtInAdapter"] | {"modelLoadingTimeoutMillis": 600_000}
    assert raw["spec"]["builtInAdapter"] == expected


@pytest.mark.parametrize("fields", [(), (".spec.containers", ".spec.builtInAdapter.memBufferBytes")])
async def test_a_conflict_that_stays_changes_nothing(bench: Bench, fields: tuple[str, ...]) -> None:
    """It is as it is."""
    ours(bench)

    def refuse(call: Call) -> Answer | None:
        return conflict(*fields) if call.verb == "apply" else None

    bench.fake.meet = refuse
    raw = await bench.keeper.ensure(TRITON)
    assert raw is not None
    assert raw["spec"] == {"containers": []}
    assert len(bench.applied()) <= 2


async def test_one_that_is_being_deleted_is_waited_for(bench: Bench) -> None:
    """It cannot be created before it is gone."""
    metadata = {"labels": {LABEL_MANAGED_BY: PRODUCT}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    bench.fake.store.put(PATH, {"metadata": metadata})
    assert await bench.keeper.ensure(TRITON) is None
    assert bench.applied() == []


async def test_trouble_is_the_callers(bench: Bench) -> None:
    """Whether it passes is in the error; one that does not is said once."""
    bench.fake.once(Answer(403, "no"), "apply")
    with pytest.raises(ApiError) as caught:
        await bench.keeper.ensure(TRITON)
    with capture_logs() as lines:
        bench.keeper.refused(TRITON, caught.value)
        bench.keeper.refused(TRITON, caught.value)
    assert [line["event"] for line in lines] == ["builtin_runtime_refused"]
    bench.fake.once(Lost(after=5), "get")
    with pytest.raises(ApiUnreachable):
        await bench.keeper.ensure(TRITON)
    ours(bench)
    bench.fake.once(conflict(".spec.containers"), "apply")
    bench.fake.once(Answer(500, "no"), "apply")
    with pytest.raises(ApiError):
        await bench.keeper.ensure(TRITON)


def test_what_is_edited_is_taken_from_the_live_object_and_nothing_beside_it() -> None:
    """Names may have dots in them; of a list all is taken; what is not there, or not understood, is left as ours."""
    body = {"spec": {"a": {"b": 1, "c": 2}, "l": [{"name": "x", "v": 1}], "labels": {"k.io/a": "1", "k": "2"}}}
    live = {"spec": {"a": {"b": 9, "c": 9}, "l": [{"name": "x", "v": 9}, 9], "labels": {"k.io/a": "9", "k": "9"}}}

    def taken(*fields: str) -> Raw:
        spec: Raw = as_edited(body, live, fields)["spec"]
        return {name: value for name, value in spec.items() if value != body["spec"][name]}

    assert taken(".spec.a.b") == {"a": {"b": 9, "c": 2}}
    assert taken('.spec.l[name="x"].v') == {"l": live["spec"]["l"]}
    assert taken(".spec.labels.k.io/a") == {"labels": {"k.io/a": "9", "k": "2"}}
    assert taken(".spec.a", ".spec.l") == {"a": {"b": 9, "c": 9}, "l": live["spec"]["l"]}
    assert taken(".spec.none", "who knows", "", ".spec.a.none") == {}
    assert as_edited(body, {"spec": {}}, [".spec.a.b"]) == body
