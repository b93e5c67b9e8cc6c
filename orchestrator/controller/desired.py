"""
Desired state as the controller holds it, with the indexes that keep an event's cost to what it touches.

The sink side is a pure fold: a complete listing or single models come in, names to reconcile
come out. Statuses are overlaid, because the platform echoes a status back some
time after it was written, and a decision must not be made on the older one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import structlog

from orchestrator.domain.errors import ModelProblem, Reason, surprise
from orchestrator.domain.serving_runtime import ServingRuntime
from orchestrator.domain.storage import StorageConfig
from orchestrator.domain.target import Target, last_good, resolve
from orchestrator.domain.trained_model import ModelStatus, TrainedModel

log = structlog.get_logger(__name__)


class DesiredState:
    """The objects as last listed. `synced` is False until the first list."""

    def __init__(self) -> None:
        #: A copy of ours, since single models change in it. Shown as a Mapping: whoever reads it changes nothing.
        self._models: dict[str, TrainedModel] = {}
        self.runtimes: Mapping[str, ServingRuntime] = {}
        self.storage: StorageConfig | None = None
        self.config: Mapping[str, str] = {}
        self.synced = False
        self._targets: dict[str, Target | ModelProblem] = {}
        self._status: dict[str, tuple[str, ModelStatus]] = {}

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
        changed = {n for n in models.keys() | self.models.keys() if not _unchanged(models.get(n), self.models.get(n))}
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
        return frozenset(changed)

    def change(self, models: Mapping[str, TrainedModel | None]) -> frozenset[str]:
        """Take some models, None: absent; the names of those of which something changed."""
        changed = {name for name, model in models.items() if not _unchanged(model, self.models.get(name))}
        for name, model in models.items():
            if model is None:
                self._models.pop(name, None)
            else:
                self._models[name] = model
        for name in changed:
            self._forget(name)
        return frozenset(changed)

    def _forget(self, name: str) -> None:
        """What was derived from the object of that name, and the status of another that had it."""
        self._targets.pop(name, None)
        model, known = self.models.get(name), self._status.get(name)
        if known is not None and (model is None or known[0] != model.uid):
            del self._status[name]

    def model(self, name: str) -> TrainedModel | None:
        """The model with the newest status known here."""
        model = self.models.get(name)
        known = self._status.get(name)
        if model is None or known is None or known[0] != model.uid:
            return model
        return replace(model, status=known[1])

    def statuses(self) -> Iterator[ModelStatus]:
        """The newest of each model: a walk over all of them."""
        for name, model in self.models.items():
            known = self._status.get(name)
            yield known[1] if known is not None and known[0] == model.uid else model.status

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

    def last_good(self, name: str) -> Target | None:
        """The last revision that loaded, if it is another than the target's and can be made again."""
        model, target = self.model(name), self.target(name)
        if model is None or (isinstance(target, Target) and target.revision == model.status.active_revision):
            return None
        try:
            return last_good(model, self.runtimes.values(), self.storage)
        except Exception as error:
            # As above. What it was made from is in the status still, and what serves of it serves on.
            log.warning("last_good_not_resolved", trained_model=name, problem=surprise(error))
            return None

    def status_written(self, name: str, uid: str, status: ModelStatus) -> None:
        """Remember what the platform will echo. The model may have gone while it was written."""
        model = self.models.get(name)
        if model is not None and model.uid == uid:
            self._status[name] = (uid, status)


def _unchanged(one: TrainedModel | None, other: TrainedModel | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    return replace(one, status=other.status) == other


def _same(one: Target | ModelProblem | None, other: Target | ModelProblem | None) -> bool:
    if isinstance(one, ModelProblem) and isinstance(other, ModelProblem):
        return one.args == other.args
    return one == other
