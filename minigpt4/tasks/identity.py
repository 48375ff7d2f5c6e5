"""What a run of evaluation is: on which data, by which model, answered how.

The identity is computed from the configuration and from files, so that a run can be recognized
before its model is loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import DataError
from minigpt4.common.settings import ModelSettings, RunSettings

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.datasets.schema import Sample
    from minigpt4.tasks.answer_plan import AnswerPlan
    from minigpt4.tasks.eval_setup import EvalData

_NO_EFFECT = {
    # on answers: how it trains,
    "drop_path_rate", "freeze_vit", "freeze_llm", "lora_dropout", "coord_sigma",
    "use_grad_checkpoint", "use_grad_checkpoint_llm",
    # where it runs, what a demo asks, what the checkpoint decides,
    "device_8bit", "task_ckpt", "prompt_path", "chat_template",
    # and what is looked at more closely below.
    "ckpt", "model_type",
}  # fmt: skip
_DIGITS = 16
_HASHES = {"model.ckpt": "ckpt", "data": "eval_file", "pictures": None, "prompts": None}
"""Parts of an identity that are hashes, and where a run says which file they are of."""


def data_key(data: EvalData, samples: Iterable[Sample]) -> str:
    """Hash of what is asked about and what is right.

    It is made of the kind and, a sample, of its id, reference, annotations (question, box ...) and
    picture's name; not of the wording of prompts or the pictures' content, which a blanked run
    does not look at.

    Raises:
        DataError: Two samples have one id.
    """
    digest = hashlib.sha256(data.kind.encode())
    ids: set[str] = set()
    for each in samples:
        if each.id in ids:
            raise DataError(f"{data.settings.eval_file_path} holds two samples of the id {each.id}")
        ids.add(each.id)
        digest.update(_json([each.id, each.picture, each.turns[-1].answer, each.meta]))
    return digest.hexdigest()[:_DIGITS]


def run_header(
    cfg: Config,
    data: EvalData,
    samples: list[Sample],
    plan: AnswerPlan,
    *,
    resample: bool,
    cached: bool | str,
    model: Any = None,
) -> dict[str, Any]:
    """The first line of a file of predictions but for how they are scored.

    Args:
        cfg: The configuration.
        data: The opened entry.
        samples: Its samples, without pictures.
        plan: How answers are found.
        resample: Whether what cannot be read is sampled again.
        cached: Whether features are kept, which rounds them; a name says how else than usual.
        model: The model, where one is given instead of the configuration's.
    Returns:
        ``identity`` names everything answers depend on; ``key`` is its hash, ``data_key`` that of
        the data alone. The rest is for people.
    """
    import minigpt4

    settings = cfg.model() if model is None else model.settings
    blank = data.settings.blank
    key = data_key(data, samples)
    identity = {
        "model.ckpt": _weights(settings, model),
        "limit": data.settings.limit,
        "blank": blank,
        "data": key,
        "pictures": None if blank else _pictures(data),
        "prompts": _hash(each.turns[0].instruction for each in samples),
        **{f"decoding.{name}": value for name, value in plan.describe().items()},
        "resample": cfg.run().seed if resample else None,
        **_settings(settings, cfg.run(), model),
        "run.feature_cache": cached,
    }
    return {
        "name": data.name,
        "kind": data.kind,
        "key": hashlib.sha256(_json(identity)).hexdigest()[:_DIGITS],
        "data_key": key,
        "identity": identity,
        "eval_file": str(data.settings.eval_file_path),
        "folder": str(Path.cwd()),
        "samples": len(samples),
        "blank": blank,
        "arch": settings.arch,
        "vit_model": settings.vit_model,
        "llama_model": settings.llama_model,
        "ckpt": settings.ckpt,
        "decoding": plan.describe(),
        "version": minigpt4.__version__,
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What tells two runs apart, each as ``name before -> after``."""
    before, after = old.get("identity") or {}, new.get("identity") or {}
    found = []
    for name in dict.fromkeys([*after, *before]):
        a, b = before.get(name), after.get(name)
        if a == b:
            continue
        place = _HASHES.get(name)
        if place is not None and old.get(place) != new.get(place):
            found.append(f"{name} {old.get(place) or 'none'} -> {new.get(place) or 'none'}")
        elif name in _HASHES:
            of = f" {new[place]}" if place is not None and new.get(place) else ""
            found.append(f"the content of {name}{of}")
        else:
            found.append(f"{name} {_short(a)} -> {_short(b)}")
    return found or ["it is of another version"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text if value not in (None, "") else "none"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _weights(settings: ModelSettings, model: Any) -> str | None:
    """Hash of what was trained: of the checkpoint's file, or of a model that was given."""
    if model is not None:
        return state_digest(model.trainable_state_dict())
    if not settings.ckpt:
        return None
    path = Path(settings.ckpt).expanduser()
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _file_digest(path: str, size: int, changed: int) -> str:
    """Hash of a file; size and time of change are there to forget it when the file changes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def state_digest(state: Mapping[str, Any]) -> str:
    """Hash of named tensors."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def _settings(settings: ModelSettings, run: RunSettings, model: Any) -> dict[str, Any]:
    """Settings of the model that answers depend on."""
    import torch

    from minigpt4.models.precision import choose_precision

    chosen = {
        f"model.{field.name}": getattr(settings, field.name)
        for field in dataclasses.fields(ModelSettings)
        if field.name not in _NO_EFFECT
    }
    for name in ("llama_model", "vit_weights"):
        files = _files(getattr(settings, name))
        if files is not None:
            chosen[f"files of model.{name}"] = files
    if model is not None:
        chosen["model.chat_template"] = settings.chat_template
        chosen["model.prompt_style"] = model.prompt_style
    else:  # half precision is for GPUs, and for CPUs made for it
        kind = run.device.partition(":")[0]
        chosen["run.device"] = kind
        if kind == "cpu" and run.amp:
            chosen["precision"] = choose_precision(torch.device("cpu"), amp=True).mixed
    return chosen


def _files(place: str | None) -> str | None:
    """Names and sizes of a folder's files, or of one; None where there are none (a hub id)."""
    path = Path(place or "").expanduser()
    if not place or not path.exists():
        return None
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return _hash(f"{each.name} {each.stat().st_size}" for each in files if each.is_file())


def _pictures(data: EvalData) -> str:
    """Names and sizes of all picture files: cheap, and enough to see that others are in place."""
    paths = map(Path, data.dataset.image_paths())
    return _hash(f"{each.name} {each.stat().st_size}" for each in paths)


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).encode() + b"\n"
