"""The ledger of one stream, against an Envoy that answers late, refuses some versions and reconnects."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.mesh.resources import Resource
from orchestrator.mesh.session import MAX_NAMES, Request, Response, Session
from tests.properties import examples

NAMES = ("a", "b", "c")
VERSIONS = ("1", "2", "bad")
WORDS = "I would rather not"


def resource(name: str, version: str = "1") -> Resource:
    return Resource(name, version, b"")


def begin(published: dict[str, Resource], held: dict[str, str] | None = None) -> Session:
    return Session(published, Request(initial_versions=held or {}), 0.0)


def names(response: Response) -> list[str]:
    return [made.name for made in response.resources]


class Conversation(RuleBasedStateMachine):
    """
    Any interleaving of publishing, removing, answering and reconnecting.

    The Envoy of the model keeps what it took in `live`. Version "bad" is what
    it refuses; of a response that it refuses it may apply the good part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.published: dict[str, Resource] = {}
        self.live: dict[str, str] = {}
        self.session = begin(self.published)
        self.in_flight: Response | None = None
        self.now = 0.0
        #: Names that this session was told to remove, and that were not published since.
        self.told: set[str] = set()
        #: (name, version) refused when it came alone, and no other accepted since.
        self.refused_alone: set[tuple[str, str]] = set()
        #: What the Envoy confirmed and was sent nothing about since.
        self.confirmed: dict[str, str] = {}
        #: The same when the response in flight was written.
        self.confirmed_before: dict[str, str] = {}

    @initialize(held=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VERSIONS[:2])))
    def envoy_was_there_before(self, held: dict[str, str]) -> None:
        self.live = held
        self._connect()

    def _connect(self) -> None:
        self.session = begin(self.published, self.live)
        self.in_flight = None
        self.told.clear()
        self.refused_alone.clear()
        self.confirmed = dict(self.live)

    @rule(name=st.sampled_from(NAMES), version=st.sampled_from(VERSIONS))
    def publish(self, name: str, version: str) -> None:
        made = resource(name, version)
        if self.published.get(name) == made:
            return
        self.published[name] = made
        self.told.discard(name)
        self.session.touch(name)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.published.pop(name, None)
        self.refused_alone = {(n, v) for n, v in self.refused_alone if n != name}
        self.told.add(name)
        self.session.remove(name)

    @rule()
    def write(self) -> None:
        responses = self.session.responses()
        assert len(responses) <= 1
        if not responses:
            return
        assert self.in_flight is None, "one outstanding response at a time"
        (self.in_flight,) = responses
        self.confirmed_before = dict(self.confirmed)
        for made in self.in_flight.resources:
            assert self.published[made.name] == made, "only the current version is sent"
            assert self.confirmed.get(made.name) != made.version, "nothing is sent twice without a change"
            assert (made.name, made.version) not in self.refused_alone, "what was refused alone is not repeated"
            self.confirmed.pop(made.name, None)
        for name in self.in_flight.removed:
            assert name in self.told, "absence never deletes"
            self.confirmed.pop(name, None)

    @precondition(lambda self: self.in_flight is not None)
    @rule(apply_good=st.booleans())
    def answer(self, apply_good: bool) -> None:
        response = self.in_flight
        assert response is not None
        self.in_flight = None
        self.now += 1
        bad = [made for made in response.resources if made.version == "bad"]
        for made in response.resources:
            if made not in bad and (apply_good or not bad):
                self.live[made.name] = made.version
        for name in response.removed:
            self.live.pop(name, None)
        outcome = self.session.receive(Request(nonce=response.nonce, error=WORDS if bad else None), self.now)
        if not bad:
            self.confirmed.update({made.name: made.version for made in response.resources})
            self.refused_alone = {(n, v) for n, v in self.refused_alone if n not in self.confirmed}
        elif len(response.resources) == 1:
            (name,) = names(response)
            if name in self.confirmed_before:
                self.confirmed[name] = self.confirmed_before[name]
            if name in self.published:
                self.refused_alone.add((name, "bad"))
                assert outcome.refused == ((name, WORDS),)

    @rule(nonce=st.sampled_from(("", "0", "999")), error=st.sampled_from((None, WORDS)))
    def stale_nonce(self, nonce: str, error: str | None) -> None:
        outcome = self.session.receive(Request(nonce=nonce, error=error), self.now)
        assert not outcome.settled
        assert not outcome.refused

    @rule(forget=st.booleans())
    def reconnect(self, forget: bool) -> None:
        """To the same leader, or to a new one that knows nothing."""
        if forget:
            self.published.clear()
        self._connect()

    @invariant()
    def accepted_means_that_the_envoy_holds_exactly_that(self) -> None:
        for name, made in self.published.items():
            if self.session.accepted_at(name, made.version) is not None:
                assert self.live.get(name) == made.version

    @invariant()
    def only_bad_versions_are_refused(self) -> None:
        for name, made in self.published.items():
            if made.version != "bad":
                assert self.session.refusal(name, made.version) == ""

    def teardown(self) -> None:
        """When the Envoy has answered everything, it holds what is published, and strangers."""
        for _ in range(4 * len(NAMES)):
            self.write()
            if self.in_flight is None:
                break
            self.answer(apply_good=True)
        assert self.session.responses() == []
        for name, made in self.published.items():
            if made.version == "bad":
                assert self.session.refusal(name, "bad") == WORDS
            else:
                assert self.live[name] == made.version
                assert self.session.accepted_at(name, made.version) is not None
        assert self.live.keys() - self.published.keys() == self.session.strangers
        assert self.session.strangers & self.told == frozenset()


TestConversation = Conversation.TestCase
TestConversation.settings = examples(80, stateful_step_count=30, deadline=None)


def test_a_fresh_envoy_is_given_its_first_snapshot_though_it_is_empty() -> None:
    """It is not ready before, and would wait for ever."""
    session = begin({})
    (first,) = session.responses()
    assert (first.resources, first.removed) == ((), ())
    session.receive(Request(nonce=first.nonce), 0.0)
    assert session.responses() == []


def test_a_fresh_envoy_is_given_its_first_snapshot_whole() -> None:
    """However many models there are: it goes live with the first response."""
    published = {f"m{i}": resource(f"m{i}") for i in range(MAX_NAMES + 1)}
    (first,) = begin(published).responses()
    assert len(first.resources) == MAX_NAMES + 1


def test_later_pushes_are_bounded() -> None:
    """A burst is sent in parts, so that none keeps Envoy's main thread for long."""
    published: dict[str, Resource] = {}
    session = begin(published)
    sizes = []
    for i in range(MAX_NAMES + 1):
        published[f"m{i}"] = resource(f"m{i}")
        session.touch(f"m{i}")
    (first,) = session.responses()
    assert len(first.resources) == MAX_NAMES + 1
    session.receive(Request(nonce=first.nonce), 0.0)
    for i in range(MAX_NAMES + 1):
        published[f"m{i}"] = resource(f"m{i}", "2")
        session.touch(f"m{i}")
    while responses := session.responses():
        sizes.append(len(responses[0].resources))
        session.receive(Request(nonce=responses[0].nonce), 0.0)
    assert sizes == [MAX_NAMES, 1]


def test_equal_hashes_on_reconnect_count_as_accepted_and_send_nothing() -> None:
    """A new leader that knows the same routes disturbs nobody."""
    session = begin({"a": resource("a")}, {"a": "1"})
    assert session.responses() == []
    assert session.accepted_at("a", "1") == 0.0
    assert session.holding == {"a"}


def test_what_nobody_published_is_reported_and_stays_until_told() -> None:
    """A leader that knows less destroys nothing."""
    session = begin({}, {"a": "1", "b": "1"})
    assert session.strangers == {"a", "b"}
    assert session.responses() == []
    session.remove("a")
    (response,) = session.responses()
    assert response.removed == ("a",)
    assert session.strangers == {"b"}


def test_a_bad_resource_costs_its_neighbours_a_moment_only() -> None:
    """A refused response is sent again name by name, and only the bad name stays refused, with Envoy's words."""
    published = {name: resource(name) for name in ("good", "bad", "fine")}
    session = begin(published)
    sent = []
    while responses := session.responses():
        (response,) = responses
        sent.append(names(response))
        session.receive(Request(nonce=response.nonce, error=WORDS if "bad" in names(response) else None), 1.0)
    assert sent == [["good", "bad", "fine"], ["good"], ["bad"], ["fine"]]
    assert session.refusal("bad", "1") == WORDS
    assert session.holding == {"good", "fine"}
    published["bad"] = resource("bad", "2")
    session.touch("bad")
    (response,) = session.responses()
    assert names(response) == ["bad"]
    assert session.refusal("bad", "2") == ""


def test_a_refused_removal_is_not_repeated_by_itself() -> None:
    """The name is a stranger again until somebody asks for its removal once more."""
    session = begin({}, {"a": "1"})
    session.remove("a")
    (response,) = session.responses()
    session.receive(Request(nonce=response.nonce, error=""), 1.0)
    assert session.responses() == []
    assert session.strangers == {"a"}


def test_changes_coalesce_while_a_response_is_outstanding() -> None:
    """A slow Envoy is sent the latest version, never the ones between."""
    published = {"a": resource("a")}
    session = begin(published)
    (first,) = session.responses()
    for version in ("2", "3", "4"):
        published["a"] = resource("a", version)
        session.touch("a")
        assert session.responses() == []
    session.receive(Request(nonce=first.nonce), 1.0)
    (second,) = session.responses()
    assert [made.version for made in second.resources] == ["4"]


def test_a_route_is_not_accepted_while_its_removal_is_on_the_way() -> None:
    """Though the Envoy held that very version until then."""
    published = {"a": resource("a")}
    session = begin(published, {"a": "1"})
    del published["a"]
    session.remove("a")
    (removal,) = session.responses()
    published["a"] = resource("a")
    session.touch("a")
    assert session.accepted_at("a", "1") is None
    session.receive(Request(nonce=removal.nonce), 1.0)
    (again,) = session.responses()
    assert names(again) == ["a"]


def test_what_was_refused_alone_is_not_sent_again_when_it_comes_back() -> None:
    """The refusal stands for those bytes, whatever was published between."""
    published = {"a": resource("a", "bad")}
    session = begin(published)
    (first,) = session.responses()
    session.receive(Request(nonce=first.nonce, error=WORDS), 1.0)
    for version in ("2", "bad"):
        published["a"] = resource("a", version)
        session.touch("a")
    assert session.responses() == []
    assert session.refusal("a", "bad") == WORDS


def test_after_a_refusal_the_version_before_is_still_held() -> None:
    """Going back to it sends nothing and counts as accepted at once."""
    published = {"a": resource("a", "bad")}
    session = begin(published, {"a": "1"})
    (first,) = session.responses()
    session.receive(Request(nonce=first.nonce, error=WORDS), 1.0)
    published["a"] = resource("a", "1")
    session.touch("a")
    assert session.responses() == []
    assert session.accepted_at("a", "1") == 0.0
