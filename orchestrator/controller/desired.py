"""
Desired state as the controller holds it, indexed so that an event costs only what it touches.

The sink side is a pure fold: a complete listing or single models come in, names
to reconcile come out. The newest status that was stored from here lies over the
one that the platform shows (status_echoes.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import structlog

from orchestrator.controller.status_echoes import StatusEchoes
from orchestrator.domain.errors import ModelProblem, Reason, surprise
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import Target, as_active, last_good, resolve
from orchestrator.domain.trained_model import ModelStatus, TrainedModel

log = structlog.get_logger(__name__)


class DesiredState:
    """The objects as last listed. `synced` is False until the first list."""

    def __init__(self) -> None:
        #: A copy of our own, since single models change in it.
        self._models: dict[str, TrainedModel] = {}
        #: Objects that were deleted but are kept by a finalizer: treated as absent, except for their last status.
        self._held: dict[str, TrainedModel] = {}
        self.runtimes: Mapping[str, ServingRuntime] = {}
        self.storage: StorageConfig | None = None
        self.config: Mapping[str, str] = {}
        self.synced = False
        self._targets: dict[str, Target | ModelProblem] = {}
        self._echoes: dict[str, StatusEchoes] = {}

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
        """Take a complete listing; returns the names of models that changed. An echo of our own status is no change."""
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
            # Rare, and it may concern any model: all targets are resolved anew, and models whose target differs change.
            before, self._targets = self._targets, {}
            changed |= {n for n, old in before.items() if not _same(self.target(n), old)}
            changed |= {n for n, old in good.items() if self.last_good(n) != old}
        return frozenset(changed | overwritten | released)

    def change(self, models: Mapping[str, TrainedModel | None]) -> frozenset[str]:
        """Take some models (None: absent); returns the names of those that changed."""
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
        """Whether the object's status, as it is now, was stored by somebody else."""
        before = self.models.get(model.name)
        if before is None or before is model or before.uid != model.uid or before.status == model.status:
            return False
        echoes = self._echoes.setdefault(model.name, StatusEchoes(model.uid))
        return echoes.shown(model.status, before.status)

    def _forget(self, name: str) -> None:
        """Drop what was derived from the object of that name, and the status of an earlier object with that name."""
        self._targets.pop(name, None)
        model, echoes = self.models.get(name), self._echoes.get(name)
        if echoes is not None and (model is None or echoes.uid != model.uid):
            del self._echoes[name]

    def model(self, name: str) -> TrainedModel | None:
        """The model with the newest status known here."""
        model = self.models.get(name)
        if model is None or (status := self._newest(model)) is model.status:
            return model
        return replace(model, status=status)

    def held(self, name: str) -> TrainedModel | None:
        """The object of that name that was deleted but is kept by a finalizer, with the newest status."""
        return self._held.get(name)

    def statuses(self) -> Iterator[ModelStatus]:
        """The newest status of each model: a walk over all models."""
        return map(self._newest, self.models.values())

    def _newest(self, model: TrainedModel) -> ModelStatus:
        echoes = self._echoes.get(model.name)
        ours = echoes.newest if echoes is not None and echoes.uid == model.uid else None
        return model.status if ours is None else ours

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
                # A bug that one model runs into must not end the list of all models, and with it the process.
                self._targets[name] = ModelProblem(Reason.MODEL_LOAD_FAILED, surprise(error))
        return self._targets[name]

    def last_good(self, name: str, loaded: Target | None = None) -> Target | None:
        """
        The last revision that loaded, if it is not the target's and can be loaded again.

        `loaded`: the revision known to have loaded last, if the status may not have it yet.
        """
        model, target = self.model(name), self.target(name)
        if model is not None and loaded is not None:
            model = replace(model, status=as_active(model.status, loaded))
        if model is None or (isinstance(target, Target) and target.revision == model.status.active_revision):
            return None
        try:
            return last_good(model, self.runtimes.values(), self.storage)
        except Exception as error:
            # As above. The status still has what the revision was made from, and its copies serve on.
            log.warning("last_good_not_resolved", trained_model=name, problem=surprise(error))
            return None

    def overwritten(self, name: str) -> bool:
        """Whether the platform may have stored another status than the newest known here."""
        echoes = self._echoes.get(name)
        return echoes is not None and echoes.overwritten

    def status_sent(self, name: str, uid: str, status: ModelStatus) -> None:
        """The status is about to be stored; the platform may echo it before it confirms the write."""
        if (echoes := self._echoes_of(name, uid)) is not None:
            echoes.sent(status)

    def status_written(self, name: str, uid: str, status: ModelStatus) -> None:
        """The status was stored. The model may have gone in the meantime."""
        if (echoes := self._echoes_of(name, uid)) is not None:
            echoes.written(status)
        elif (held := self._held.get(name)) is not None and held.uid == uid:
            self._held[name] = replace(held, status=status)

    def status_failed(self, name: str, uid: str) -> None:
        """The write failed: the status that was sent may be stored or not."""
        if (echoes := self._echoes_of(name, uid)) is not None:
            echoes.failed()

    def _echoes_of(self, name: str, uid: str) -> StatusEchoes | None:
        """None if that object is not there any more."""
        model = self.models.get(name)
        return self._echoes.setdefault(name, StatusEchoes(uid)) if model is not None and model.uid == uid else None


def _unchanged(one: TrainedModel | None, other: TrainedModel | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    return replace(one, status=other.status) == other


def _same(one: Target | ModelProblem | None, other: Target | ModelProblem | None) -> bool:
    if isinstance(one, ModelProblem) and isinstance(other, ModelProblem):
        return one.args == other.args
    return one == other
