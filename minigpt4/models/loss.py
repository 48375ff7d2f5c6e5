"""Cross entropy on answer tokens, with softened targets for coordinates on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from minigpt4.common.errors import ConfigError
from minigpt4.models.tokenizer import LlmTokenizer

Reduction = Literal["mean", "sum", "none"]

MAX_LOGITS = 1 << 24
"""Logits held at once in float32; more are computed in parts, and again for the gradient."""


def answer_losses(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    soft: CoordinateTargets | None,
    *,
    vocabulary: int,
    max_logits: int = MAX_LOGITS,
) -> Tensor:
    """Cross entropy of each position, without ever holding the logits of all of them.

    Args:
        states: What logits are computed from, (T, D).
        head: From (T', D) to logits (T', V).
        targets: Token ids (T,).
        soft: Softened coordinates, or None.
        vocabulary: V.
        max_logits: See ``MAX_LOGITS``.
    Returns:
        Tensor (T,).
    """

    def losses(some: Tensor, their_targets: Tensor) -> Tensor:
        return token_losses(head(some), their_targets, soft)

    rows = max(1, max_logits // vocabulary)
    if len(states) <= rows:
        return losses(states, targets)
    parts = zip(states.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])


def token_losses(logits: Tensor, targets: Tensor, soft: CoordinateTargets | None) -> Tensor:
    """Cross entropy of each position in float32.

    Args:
        logits: (T, V).
        targets: Token ids (T,).
        soft: Softened coordinates, or None.
    Returns:
        Tensor (T,).
    """
    logits = logits.float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    if soft is None:
        return losses
    coordinate = soft.coordinate_of(targets)  # (T,), -1 for other tokens
    where = coordinate >= 0
    weights = soft.weights[coordinate[where]]  # (T', 101)
    scores = logits[where].log_softmax(-1)[:, soft.token_ids]  # (T', 101)
    return losses.masked_scatter(where, -(weights * scores).sum(-1))


def reduce_losses(losses: Tensor, rows: Tensor, batch: int, reduction: Reduction) -> Tensor:
    """Reduce the losses of answer tokens.

    ``none`` gives each sample's mean per answer token. The original divides by the padded length
    of the batch instead, so that a sample's value depends on its neighbours.

    Args:
        losses: (T,).
        rows: The sample of each token (T,).
        batch: Number of samples.
        reduction: ``mean`` over all answer tokens of the batch, ``sum``, or ``none``.
    Returns:
        A scalar, or (batch,) for ``none``. Samples and batches without any answer token give 0.
    """
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.sum() / max(len(losses), 1)
    if reduction == "none":
        counts = torch.bincount(rows, minlength=batch).clamp_min(1)
        return losses.new_zeros(batch).index_add(0, rows, losses) / counts
    raise ValueError(f"reduction is {reduction!r}; use mean, sum or none")


class CoordinateTargets:
    """Normal weights around a coordinate token over the tokens ``<0>`` to ``<100>``.

    Args:
        tokenizer: Must spell each coordinate as one token.
        sigma: Width of the distribution, in coordinate units.
    Raises:
        ConfigError: The tokenizer spells coordinates as several tokens.
    """

    def __init__(self, tokenizer: LlmTokenizer, sigma: float) -> None:
        found = [tokenizer.id_of(f"<{value}>") for value in range(101)]
        ids = [token_id for token_id in found if token_id is not None]
        if len(ids) < len(found):
            raise ConfigError(
                "model.coord_sigma needs a tokenizer with the tokens <0> to <100>, which "
                "model.llama_model does not have: set model.coord_sigma to 0."
            )
        values = torch.arange(101.0)
        weights = (-0.5 * ((values[:, None] - values) / sigma).square()).exp()
        self.token_ids = torch.tensor(ids)
        self.weights = weights / weights.sum(-1, keepdim=True)  # (101, 101), rows sum to 1
        self._coordinate = torch.full((len(tokenizer),), -1)
        self._coordinate[self.token_ids] = torch.arange(101)

    def to(self, device: torch.device) -> CoordinateTargets:
        """Move the tables."""
        self.token_ids = self.token_ids.to(device)
        self.weights = self.weights.to(device)
        self._coordinate = self._coordinate.to(device)
        return self

    def coordinate_of(self, targets: Tensor) -> Tensor:
        """The coordinate each target stands for, -1 for other tokens."""
        return self._coordinate[targets]
