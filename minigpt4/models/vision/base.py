"""What every image encoder offers to the model."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import torch
from torch import Tensor, nn


class VisionEncoder(nn.Module):
    """Pictures to patch tokens, in two steps of which only the first is expensive.

    ``forward`` runs the network; its result may be cached. ``finish`` adds what is cheap and may
    change with a checkpoint (feature statistics), so a cache stays valid when it does.

    Attributes:
        num_features: Width D of the finished tokens.
        image_size: Side of the square pictures, in pixels.
        source: Where the weights came from, for messages and ``fingerprint``.
    """

    num_features: int
    image_size: int
    source: str

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

    @property
    def dtype(self) -> torch.dtype:
        """Type of the network's weights."""
        return next(self.parameters()).dtype

    def fingerprint(self) -> str:
        """Hash of all that decides what ``forward`` returns, to key a cache with."""
        digest = hashlib.sha256(f"{type(self).__name__} {self.image_size} {self.source}".encode())
        for name, value in self.state_dict().items():
            if name.startswith("feature_"):
                continue
            flat = value.detach().flatten()
            step = max(1, flat.numel() // 64)
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(flat[::step].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
