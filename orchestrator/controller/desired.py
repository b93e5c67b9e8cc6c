"""
Desired state as the controller holds it, with the indexes that keep an event's cost to what it touches.

The sink side is a pure fold: a complete listing or single models come in, names to reconcile
come out. Statuses are overlaid, because the platform echoes a status back some
time after it was written, and a decision must not be made on the older one.
Nor on one that somebody else has stored: what is shown and was not sent here is
overwritten, and ours is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import structlog

from orchestrator.domain.errors import ModelProblem, Reason, surprise
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import Target, as_active, last_good, resolve
from orchestrator.domain.trained_model import ModelStatus, TrainedModel

log = structlog.get_logger(__name__)

#: Statuses of a model that are remembered until their echo; of an older one it would be written once more.
_ECHOES: Final = 8


@dataclass(slots=True)
class _Told:
    """What was told of the object with that uid."""

    uid: str
    #: The newest; None: what is shown, as nothing has been stored from here.
    status: ModelStatus | None = None
    #: What may be shown yet, oldest first.
    sent: tuple[ModelStatus, ...] = ()
    #: Whether something else may be stored by now.
    overwritten: bool = False


class DesiredState:
    """The objects as last listed. `synced` is False until the first list."""

    def __init__(self) -> None:
        #: A copy of ours, since single models change in it. Shown as a Mapping: whoever reads it changes nothing.
        self._models: dict[str, TrainedModel] = {}
        #: Those that were deleted and are held by somebody: absent, but for their last status.
        self._held: dict[str, TrainedModel] = {}
        self.runtimes: Mapping[str, ServingRuntime] = {}
        self.storage: StorageConfig | None = None
        self.config: Mapping[str, str] = {}
        self.synced = False
        self._targets: dict[str, Target | ModelProblem] = {}
        self._status: dict[str, _Told] = {}

    @property
    def models(self) -> Mapping[str, TrainedModel]:
        """By name, as last delivered; `model` has the newest status."""
        return self._models

    def replace(
        self,
        *,
        models: Mapping[str, TrainedModel],
        runtimes: Mapping[str, ServingRuntime],
        storage: StorageConfig | None,
        config: Mapping[str, str],
    ) -> frozenset[str]:
        """Take a complete listing; the names of models for which something changed. A status of ours is no news."""
        common = runtimes != self.runtimes or storage != self.storage
        held = {n: model for n, model in models.items() if model.held_by}
        models = {n: model for n, model in models.items() if not model.held_by} if held else models
        released = {n for n in held.keys() | self._held.keys() if not _unchanged(held.get(n), self._held.get(n))}
        self._held = held
        changed = {n for n in models.keys() | self.models.keys() if not _unchanged(models.get(n), self.models.get(n))}
        overwritten = {n for n, model in models.items() if self._overwrites(model)}
        good = {n: self.last_good(n) for n in self._targets} if common else {}
        self._models = dict(models)
        self.runtimes, self.storage, self.config = runtimes, storage, config
        self.synced = True
        for name in changed:
            self._forget(name)
        if common:
            # Rare, and it may concern any model: all targets are resolved anew, those that differ are reconciled.
            before, self._targets = self._targets, {}
            changed |= {n for n, old in before.items() if not _same(self.target(n), old)}
            changed |= {n for n, old in good.items() if self.last_good(n) != old}
        return frozenset(changed | overwritten | released)

    def change(self, models: Mapping[str, TrainedModel | None]) -> frozenset[str]:
        """Take some models, None: absent; the names of those of which something changed."""
        held = {name: model for name, model in models.items() if model is not None and model.held_by}
        released = {name for name in models if not _unchanged(held.get(name), self._held.pop(name, None))}
        self._held |= held
        models = {**models, **dict.fromkeys(held)}
        changed = {name for name, model in models.items() if not _unchanged(model, self.models.get(name))}
        overwritten = {name for name, model in models.items() if model is not None and self._overwrites(model)}
        for name, model in models.items():
            if model is None:
                self._models.pop(name, None)
            else:
                self._models[name] = model
        for name in changed:
            self._forget(name)
        return frozenset(changed | overwritten | released)

    def _overwrites(self, model: TrainedModel) -> bool:
        """Whether the status that is shown now was stored by somebody else."""
        before = self.models.get(model.name)
        if before is None or before is model or before.uid != model.uid or before.status == model.status:
            return False
        told = self._status.setdefault(model.name, _Told(model.uid))
        if model.status in told.sent:
            told.sent = told.sent[told.sent.index(model.status) + 1 :]
            return False
        told.status = told.status or before.status
        told.overwritten = model.status != told.status
        return told.overwritten

    def _forget(self, name: str) -> None:
        """What was derived from the object of that name, and the status of another that had it."""
        self._targets.pop(name, None)
        model, known = self.models.get(name), self._status.get(name)
        if known is not None and (model is None or known.uid != model.uid):
            del self._status[name]

    def model(self, name: str) -> TrainedModel | None:
        """The model with the newest status known here."""
        model = self.models.get(name)
        known = self._status.get(name)
        if model is None or known is None or known.status is None or known.uid != model.uid:
            return model
        return replace(model, status=known.status)

    def held(self, name: str) -> TrainedModel | None:
        """The object of that name that was deleted and is there still, with the newest status."""
        return self._held.get(name)

    def statuses(self) -> Iterator[ModelStatus]:
        """The newest of each model: a walk over all of them."""
        for name, model in self.models.items():
            known = self._status.get(name)
            mine = known.status if known is not None and known.uid == model.uid else None
            yield model.status if mine is None else mine

    def target(self, name: str) -> Target | ModelProblem | None:
        """What the model resolves to; None for a name that is not there."""
        model = self.models.get(name)
        if model is None:
            return None
        if name not in self._targets:
            try:
                self._targets[name] = resolve(model, self.runtimes.values(), self.storage)
            except ModelProblem as problem:
                self._targets[name] = problem.with_traceback(None)
            except Exception as error:
                # Of one model, whatever it is. This is asked in lists of all of them, whose end would be the process's.
                self._targets[name] = ModelProblem(Reason.MODEL_LOAD_FAILED, surprise(error))
        return self._targets[name]

    def last_good(self, name: str, loaded: Target | None = None) -> Target | None:
        """
        The last revision that loaded, if it is another than the target's and can be made again.

        `loaded`: what is known to have loaded last, where that may not be in the status yet.
        """
        model, target = self.model(name), self.target(name)
        if model is not None and loaded is not None:
            model = replace(model, status=as_active(model.status, loaded))
        if model is None or (isinstance(target, Target) and target.revision == model.status.active_revision):
            return None
        try:
            return last_good(model, self.runtimes.values(), self.storage)
        except Exception as error:
            # As above. What it was made from is in the status still, and what serves of it serves on.
            log.warning("last_good_not_resolved", trained_model=name, problem=surprise(error))
            return None

    def overwritten(self, name: str) -> bool:
        """Whether something else may be stored than the newest status known here."""
        told = self._status.get(name)
        return told is not None and told.overwritten

    def status_sent(self, name: str, uid: str, status: ModelStatus) -> None:
        """It is about to be stored; the platform may echo it before that is confirmed."""
        if (told := self._told(name, uid)) is not None:
            told.sent = (*told.sent, status)[-_ECHOES:]
            told.overwritten = False

    def status_written(self, name: str, uid: str, status: ModelStatus) -> None:
        """Remember what the platform will echo. The model may have gone while it was written."""
        if (told := self._told(name, uid)) is not None:
            told.status = status
        elif (held := self._held.get(name)) is not None and held.uid == uid:
            self._held[name] = replace(held, status=status)

    def status_failed(self, name: str, uid: str) -> None:
        """Nobody knows whether what was sent is stored."""
        if (told := self._told(name, uid)) is not None:
            told.overwritten = True

    def _told(self, name: str, uid: str) -> _Told | None:
        model = self.models.get(name)
        return self._status.setdefault(name, _Told(uid)) if model is not None and model.uid == uid else None


def _unchanged(one: TrainedModel | None, other: TrainedModel | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    return replace(one, status=other.status) == other


def _same(one: Target | ModelProblem | None, other: Target | ModelProblem | None) -> bool:
    if isinstance(one, ModelProblem) and isinstance(other, ModelProblem):
        return one.args == other.args
    return one == other
