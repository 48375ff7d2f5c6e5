"""What every image encoder offers to the model."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class VisionEncoder(nn.Module):
    """Pictures to patch tokens, in two steps of which only the first is expensive.

    ``forward`` runs the network; its result may be cached. ``finish`` adds what is cheap and may
    change with a checkpoint (feature statistics), so a cache stays valid when it does.

    Attributes:
        num_features: Width D of the finished tokens.
        image_size: Side of the square pictures, in pixels.
        source: What the network is and where its weights came from.
        is_final: Whether ``optimize_frozen`` has changed the weights, so that none can be loaded.
    """

    num_features: int
    image_size: int
    source: str
    is_final: bool = False

    @property
    @abstractmethod
    def network(self) -> Any:
        """The timm model, whose weights have the encoder's precision."""

    @abstractmethod
    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            pixel_values: CLIP-normalized pictures, shape (B, 3, S, S).
        Returns:
            Patch tokens in raster order without class token, shape (B, N, D).
        """

    def finish(self, features: Tensor) -> Tensor:
        """Turn what ``forward`` gave, fresh or cached, into the tokens of shape (B, N, D)."""
        return features

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fit weights under the encoder's own names to its image size, where that can be done."""
        return dict(weights)

    def optimize_frozen(self) -> None:
        """Make the network faster, once its weights are loaded and will not change any more."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights."""
        weight: Tensor = next(self.network.parameters())
        return weight.dtype

    def fingerprint(self) -> str:
        """Hash of all that decides what ``forward`` returns, to key a cache with."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.image_size} {self.source}".encode())
        for name, value in self.network.state_dict().items():
            flat = value.detach().flatten()
            sample = flat[:: max(1, flat.numel() // 64)]
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(sample.float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
