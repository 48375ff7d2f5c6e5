"""Names to classes: models, builders, processors, tasks, runners, learning-rate schedules."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from minigpt4.common.errors import ConfigError

T = TypeVar("T", bound=type)

# The package whose import registers every class of a kind.
_HOMES = {
    "model": "minigpt4.models",
    "builder": "minigpt4.datasets.builders",
    "processor": "minigpt4.processors",
    "task": "minigpt4.tasks",
    "runner": "minigpt4.runners",
    "lr_scheduler": "minigpt4.common.optims",
}


class Registry:
    """Classes by kind and name; a kind's home package is imported when it is first asked for."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[str, type]] = {kind: {} for kind in _HOMES}

    def _register(self, kind: str, name: str) -> Callable[[T], T]:
        def wrap(cls: T) -> T:
            known = self._classes[kind].get(name)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise KeyError(f"the {kind} name {name!r} is taken by {known.__qualname__}")
            self._classes[kind][name] = cls
            return cls

        return wrap

    def _get(self, kind: str, name: str) -> Any:
        if name not in self._classes[kind]:
            importlib.import_module(_HOMES[kind])
        try:
            return self._classes[kind][name]
        except KeyError:
            raise ConfigError(unknown_name(kind, name, self._classes[kind])) from None

    def names(self, kind: str) -> list[str]:
        """All registered names of one kind, sorted."""
        importlib.import_module(_HOMES[kind])
        return sorted(self._classes[kind])

    def register_model(self, name: str) -> Callable[[T], T]:
        """Register a model class under ``model.arch``."""
        return self._register("model", name)

    def register_builder(self, name: str) -> Callable[[T], T]:
        """Register a data set builder under the key of ``datasets``."""
        return self._register("builder", name)

    def register_processor(self, name: str) -> Callable[[T], T]:
        """Register an image or text processor."""
        return self._register("processor", name)

    def register_task(self, name: str) -> Callable[[T], T]:
        """Register a task under ``run.task``."""
        return self._register("task", name)

    def register_runner(self, name: str) -> Callable[[T], T]:
        """Register a runner under ``run.runner``."""
        return self._register("runner", name)

    def register_lr_scheduler(self, name: str) -> Callable[[T], T]:
        """Register a learning-rate schedule under ``run.lr_sched``."""
        return self._register("lr_scheduler", name)

    def get_model_class(self, name: str) -> Any:
        """The model class of that name; ``ConfigError`` names the nearest one otherwise."""
        return self._get("model", name)

    def get_builder_class(self, name: str) -> Any:
        """The data set builder of that name."""
        return self._get("builder", name)

    def get_processor_class(self, name: str) -> Any:
        """The processor of that name."""
        return self._get("processor", name)

    def get_task_class(self, name: str) -> Any:
        """The task of that name."""
        return self._get("task", name)

    def get_runner_class(self, name: str) -> Any:
        """The runner of that name."""
        return self._get("runner", name)

    def get_lr_scheduler_class(self, name: str) -> Any:
        """The learning-rate schedule of that name."""
        return self._get("lr_scheduler", name)


def unknown_name(kind: str, name: str, known: Any) -> str:
    """One sentence about a name that does not exist, with the nearest ones that do."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}."
    return f"there is no {kind.replace('_', ' ')} named {name!r}; {hint}"


registry = Registry()
