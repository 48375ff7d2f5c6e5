"""Samples to the batch that ``model(samples)`` takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from minigpt4.common.errors import DataError
from minigpt4.datasets.schema import CONNECT_SYM, Batch, Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Join samples of one kind.

    Samples of one turn give ``instruction_input`` and ``answer``; as soon as one has several, all
    are given as conversations. Several pictures a sample are padded to the most that one has.

    Args:
        samples: All with a picture, all with several, all with features, or all text only.

    Raises:
        DataError: The samples are of different kinds, or their pictures of different sizes.
    """
    kinds = {_kind(sample) for sample in samples}
    if len(kinds) > 1:
        ids = ", ".join(f"{sample.id} ({_kind(sample)})" for sample in samples[:4])
        raise DataError(f"one batch mixes samples of different kinds: {ids}; keep them apart.")
    batch = Batch(
        sample_id=[sample.id for sample in samples],
        image_path=[sample.image_path for sample in samples],
        picture=[sample.picture for sample in samples],
        meta=[sample.meta for sample in samples],
    )
    kind = kinds.pop()
    if kind == "features":
        batch["image_features"] = _stack([s.features for s in samples], samples)
    elif kind == "picture":
        batch["image"] = _stack([s.image for s in samples], samples)
    elif kind == "pictures":
        images = [s.image for s in samples if s.image is not None]
        most = max(len(image) for image in images)
        batch["length"] = [len(image) for image in images]
        batch["image"] = _stack([_pad(image, most) for image in images], samples)
    if all(len(sample.turns) == 1 for sample in samples):
        batch["instruction_input"] = [sample.turns[0].instruction for sample in samples]
        batch["answer"] = [sample.turns[0].answer for sample in samples]
    else:
        batch["conv_q"] = [CONNECT_SYM.join(t.instruction for t in s.turns) for s in samples]
        batch["conv_a"] = [CONNECT_SYM.join(t.answer for t in s.turns) for s in samples]
        batch["connect_sym"] = [CONNECT_SYM] * len(samples)
    return batch


def _kind(sample: Sample) -> str:
    if sample.features is not None:
        return "features"
    if sample.image is None:
        return "text only"
    return "picture" if sample.image.dim() == 3 else "pictures"


def _stack(tensors: Sequence[Tensor | None], samples: Sequence[Sample]) -> Tensor:
    present = [tensor for tensor in tensors if tensor is not None]
    shapes = {tuple(tensor.shape) for tensor in present}
    if len(shapes) > 1:
        raise DataError(
            f"pictures of one batch differ in size: {sorted(shapes)} (sample {samples[0].id} and "
            "others); give the data sets the same image_size."
        )
    return torch.stack(present)


def _pad(images: Tensor, count: int) -> Tensor:
    """(T, 3, H, W) to (count, 3, H, W)."""
    return torch.cat([images, images.new_zeros(count - len(images), *images.shape[1:])])
