"""
The demand of all activators: which models they wait for, and what they were answered.

Level-based. A want stands until it is released or its stream ends; an answer
goes to the activators that want the model now, and is not kept for later ones.
Each want that *arrives* is new, even if it repeats one that stands: the
controller is asked again (`on_want`), and its answer is sent even if it equals
the last one, since the request behind the new want has not got that.

A stale mark (the route led nowhere) is sticky: later wants for the model do not
clear it; only an answer does that was given after `wanted` had shown the mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from orchestrator.domain.demand import Answer, Want
from orchestrator.domain.errors import ProductError
from orchestrator.machinery.figures import Figure, gauge


class TooManyWants(ProductError):
    """One stream wants more models than an activator can hold requests for."""

    def __init__(self, wanted: int, limit: int) -> None:
        super().__init__(wanted, limit)
        self.wanted = wanted
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.wanted} models wanted on one stream, {self.limit} is the limit"


class Waiter:
    """One activator's stream. The shell writes `answers()` whenever it is woken."""

    __slots__ = ("_told", "_wake", "_wants", "_words")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._wants: dict[str, Want] = {}
        #: Last answer to the want that stands now.
        self._told: dict[str, Answer] = {}
        #: Answers that are not written yet; only the latest for a model matters.
        self._words: dict[str, Answer] = {}

    def answers(self) -> list[tuple[str, Answer]]:
        """What to write now, each answer once."""
        words = list(self._words.items())
        self._words.clear()
        return words

    def _want(self, model: str, want: Want) -> None:
        self._release(model)
        self._wants[model] = want

    def _release(self, model: str) -> None:
        self._wants.pop(model, None)
        self._told.pop(model, None)
        self._words.pop(model, None)

    def _tell(self, model: str, answer: Answer) -> None:
        if model in self._wants and self._told.get(model) != answer:
            self._told[model] = answer
            self._words[model] = answer
            self._wake()


class DemandBook:
    """Implements `orchestrator.ports.Activators` over the connected activators' streams."""

    def __init__(self, *, on_want: Callable[[str], None], max_names: int = 10_000) -> None:
        self._on_want = on_want
        self._max_names: Final = max_names
        self._waiters: list[Waiter] = []
        #: Wanted models whose route was stale; True once `wanted` has shown it.
        self._stale: dict[str, bool] = {}

    # -- the controller's side -------------------------------------------------

    def wanted(self, model: str) -> Want | None:
        """The merged want of all activators; None if none wants the model."""
        want = self._merged(model)
        if want is not None and want.stale:
            self._stale[model] = True
        return want

    def answer(self, model: str, answer: Answer) -> None:
        """Answer the activators that want the model. This clears a stale mark that `wanted` has shown."""
        if self._stale.get(model):
            del self._stale[model]
        for waiter in self._waiters:
            waiter._tell(model, answer)

    def figures(self) -> list[Figure]:
        """For how many models activators hold requests, and how many activators are connected."""
        wanted = {model for waiter in self._waiters for model in waiter._wants}
        return [
            gauge("wml_models_wanted", "Models for which some activator holds requests.", len(wanted)),
            gauge("wml_activators_connected", "Activators that are connected.", len(self._waiters)),
        ]

    # -- the shell's side ------------------------------------------------------

    def connect(self, wake: Callable[[], None]) -> Waiter:
        """A stream began; it wants nothing yet."""
        waiter = Waiter(wake)
        self._waiters.append(waiter)
        return waiter

    def receive(self, waiter: Waiter, *, full: bool, wants: Mapping[str, Want], release: Iterable[str] = ()) -> None:
        """Take a Wanted message. Raises TooManyWants, and then has taken no part of it."""
        gone = (waiter._wants.keys() - wants.keys()) if full else ((waiter._wants.keys() & release) - wants.keys())
        count = len((waiter._wants.keys() - gone) | wants.keys())
        if count > self._max_names:
            raise TooManyWants(count, self._max_names)
        self._drop(waiter, gone)
        for model, want in wants.items():
            if want.stale:
                self._stale[model] = False
            waiter._want(model, want)
            self._on_want(model)

    def disconnect(self, waiter: Waiter) -> None:
        """The stream ended, and with it its wants."""
        self._drop(waiter, set(waiter._wants))
        self._waiters.remove(waiter)

    def _drop(self, waiter: Waiter, models: Iterable[str]) -> None:
        for model in models:
            before = self._merged(model)
            waiter._release(model)
            after = self._merged(model)
            if after is None:
                self._stale.pop(model, None)
            if after != before:
                self._on_want(model)

    def _merged(self, model: str) -> Want | None:
        wants = [want for waiter in self._waiters if (want := waiter._wants.get(model)) is not None]
        if not wants:
            return None
        return Want(load=any(want.load for want in wants), stale=model in self._stale)
