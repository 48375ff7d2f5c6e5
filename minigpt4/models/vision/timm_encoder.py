"""Any image encoder of timm: the tokens of a ViT or the joined feature maps of a CNN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt4.common.errors import AccessError, ConfigError, WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.vision.base import VisionEncoder
from minigpt4.models.vision.folding import fold_batch_norms
from minigpt4.models.vision.fusing import fuse_convolutions
from minigpt4.models.vision.weights import RANDOM, encoder_weights, rename_by_order, weight_file

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(kw_only=True)
class MapOptions:
    """How feature maps become tokens (``model.vit_config`` of a ``timm/`` encoder)."""

    out_indices: tuple[int, ...] | None = None
    """Maps to join at the coarsest stride; None: the tokens of a ViT, the last map of a CNN."""
    position_channels: int = 0
    """Fixed sine/cosine channels added to each token, so that it knows its place; multiple of 4."""
    standardize: bool = False
    """Bring each channel to mean 0 and deviation 1 by statistics kept with the weights."""

    @classmethod
    def parse(cls, config: Mapping[str, Any] | None) -> MapOptions:
        """Check ``model.vit_config``.

        Raises:
            ConfigError: An unknown key or a value out of range.
        """
        config = dict(config or {})
        unknown = sorted(set(config) - set(cls.__dataclass_fields__))
        if unknown:
            raise ConfigError(
                f"model.vit_config holds {', '.join(unknown)}, which a timm/ encoder does not "
                f"know; use {', '.join(cls.__dataclass_fields__)}."
            )
        if config.get("out_indices") is not None:
            config["out_indices"] = tuple(config["out_indices"])
        options = cls(**config)
        if options.position_channels % 4 or options.position_channels < 0:
            raise ConfigError("model.vit_config.position_channels must be a multiple of 4.")
        return options


class TimmEncoder(VisionEncoder):
    """A timm model behind CLIP-normalized pictures.

    Args:
        net: A model that gives tokens, or one built with ``features_only``.
        image_size: Side of the square pictures, in pixels.
        options: What to make of feature maps.
        source: What the model is and where its weights came from.
    """

    feature_mean: Tensor
    feature_std: Tensor
    positions: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, net: Any, *, image_size: int, options: MapOptions, source: str) -> None:
        super().__init__()
        self.image_size = image_size
        self.options = options
        self.source = source
        self.gives_maps = not hasattr(net, "num_prefix_tokens")
        # Convolutions on a CPU are faster with channels last.
        self.net = net.to(memory_format=torch.channels_last) if self.gives_maps else net
        scale, shift = _renormalization(net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        with torch.no_grad():
            tokens, width = self.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1:]
        if options.standardize:
            self.register_buffer("feature_mean", torch.zeros(width))
            self.register_buffer("feature_std", torch.ones(width))
        if options.position_channels:
            positions = grid_positions(math.isqrt(tokens), options.position_channels)
            self.register_buffer("positions", positions, persistent=False)
        self.num_features = width + options.position_channels

    @property
    def network(self) -> Any:
        """The timm model."""
        return self.net

    def optimize_frozen(self) -> None:
        """Fold batch norms, fuse convolutions; no weights can be loaded afterwards."""
        if self.gives_maps:
            generator = torch.Generator().manual_seed(0)
            probe = torch.randn(1, 3, self.image_size, self.image_size, generator=generator)
            probe = probe.to(self.scale.device, self.dtype)
            self.is_final = fold_batch_norms(self.net, probe) > 0
            if fuse_convolutions(self.net, probe):
                self.is_final = True

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures (B, 3, S, S) to tokens (B, N, D), before standardization."""
        pixels = (pixel_values.float() * self.scale + self.shift).to(self.dtype)
        if not self.gives_maps:
            tokens: Tensor = self.net.forward_features(pixels)
            return tokens[:, self.net.num_prefix_tokens :]  # (B, P + N, D) -> (B, N, D)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        maps = self.net(pixels)
        if "NHWC" in str(getattr(self.net, "output_fmt", "")):
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return join_maps(maps).flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, h * w, D)

    def finish(self, features: Tensor) -> Tensor:
        """Standardize and add positions: (B, N, D) to (B, N, D + position_channels)."""
        if self.options.standardize:
            features = (features.float() - self.feature_mean) / self.feature_std
        if self.options.position_channels:
            positions = self.positions.to(features.dtype).expand(len(features), -1, -1)
            features = torch.cat([features, positions], dim=-1)
        return features

    @torch.no_grad()
    def fit_feature_statistics(self, batches: Iterable[Tensor]) -> None:
        """Set ``feature_mean`` and ``feature_std`` from what ``forward`` gave.

        Args:
            batches: Features (B, N, D), of all kinds of pictures the model is to see.
        Raises:
            ConfigError: The encoder was not built with ``standardize``.
        """
        if not self.options.standardize:
            raise ConfigError("Set model.vit_config.standardize to keep feature statistics.")
        total = torch.zeros(len(self.feature_mean), dtype=torch.float64)
        squares, count = torch.zeros_like(total), 0
        for batch in batches:
            rows = batch.detach().flatten(0, 1).double().cpu()  # (B * N, D)
            total += rows.sum(0)
            squares += rows.square().sum(0)
            count += len(rows)
        if not count:
            raise ValueError("no features to take statistics from")
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1e-4)
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)


def build_timm(name: str, settings: ModelSettings) -> TimmEncoder:
    """A timm encoder with the weights that ``model.vit_weights`` names, or timm's own.

    Raises:
        ConfigError: timm does not know the name, or cannot build it so.
        WeightsError: Weights that do not fit.
        AccessError: timm's weights cannot be downloaded.
    """
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:5]
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"timm has no model {name!r} (model.vit_model){hint}.")
    options = MapOptions.parse(settings.vit_config)
    origin = settings.vit_weights or "public"
    if origin == RANDOM:
        net = _create(name, settings, options)
    elif origin == "public":
        try:
            net = _create(name, settings, options, pretrained=True)
        except (OSError, RuntimeError) as error:
            raise AccessError(
                f"timm's weights of {name} cannot be downloaded: go online once, or name a file "
                "in model.vit_weights."
            ) from error
    else:
        net = _create_from_file(name, settings, options, weight_file(origin))
    source = f"timm/{name} {options.out_indices} {origin}"
    return TimmEncoder(net, image_size=settings.image_size, options=options, source=source)


def join_maps(maps: list[Tensor]) -> Tensor:
    """Join feature maps at the coarsest stride; finer ones fold their pixels into channels.

    Args:
        maps: Tensors (B, C_i, h_i, w_i), every side a multiple of the smallest map's side.
    Returns:
        Tensor (B, sum of C_i * (h_i / h) ** 2, h, w).
    Raises:
        ConfigError: A side is no multiple of the smallest one's.
    """
    height, width = min((m.shape[2], m.shape[3]) for m in maps)
    joined = []
    for each in maps:
        factor = each.shape[2] // height
        if each.shape[2:] != (height * factor, width * factor):
            raise ConfigError(
                f"Feature maps of {tuple(each.shape[2:])} and {(height, width)} cannot be joined: "
                "choose model.image_size as a multiple of the coarsest stride."
            )
        joined.append(F.pixel_unshuffle(each, factor) if factor > 1 else each)
    return torch.cat(joined, dim=1)


def grid_positions(side: int, channels: int) -> Tensor:
    """Sine and cosine of a token's row and column at rising frequencies.

    Returns:
        Tensor (side * side, channels), raster order; values in [-1, 1].
    """
    steps = (torch.arange(side) + 0.5) / side  # centres, 0..1
    frequencies = torch.pi * 2.0 ** torch.arange(channels // 4)  # (channels / 4,)
    angles = steps[:, None] * frequencies  # (side, channels / 4)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, channels / 2)
    rows = waves[:, None].expand(side, side, -1)
    columns = waves[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, channels)


def _create_from_file(name: str, settings: ModelSettings, options: MapOptions, path: Path) -> Any:
    import timm

    with torch.device("meta"):
        whole = timm.create_model(name, pretrained=False).state_dict()
        needed = [n.removeprefix("model.") for n in _create(name, settings, options).state_dict()]
    weights = rename_by_order(encoder_weights(path), whole, str(path))
    missing = [n for n in needed if n not in weights]
    if missing:
        raise WeightsError(
            f"{path} (model.vit_weights) lacks {len(missing)} tensor(s) of {name}, first "
            f"{missing[0]}."
        )
    overlay = {"state_dict": {n: weights[n] for n in needed}}
    try:
        return _create(name, settings, options, pretrained=True, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} (model.vit_weights) does not fit {name}: {str(error).splitlines()[-1].strip()}"
        ) from error


def _create(name: str, settings: ModelSettings, options: MapOptions, **weights: Any) -> Any:
    """Build a timm model that gives tokens or feature maps."""
    import timm

    kwargs = weights
    if settings.drop_path_rate:
        kwargs["drop_path_rate"] = settings.drop_path_rate
    with torch.device("meta"):
        probe = timm.create_model(name, pretrained=False)
    if getattr(getattr(probe, "patch_embed", None), "img_size", None) is not None:
        kwargs["img_size"] = settings.image_size
    if options.out_indices is None and hasattr(probe, "num_prefix_tokens"):
        return timm.create_model(name, num_classes=0, **kwargs)
    indices = options.out_indices or (-1,)
    try:
        return timm.create_model(name, features_only=True, out_indices=indices, **kwargs)
    except (AssertionError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"timm cannot give the feature maps {list(indices)} of {name} "
            f"(model.vit_config.out_indices): {error}"
        ) from error


def _renormalization(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Scale and shift that take a CLIP-normalized picture to another mean and deviation."""
    clip_mean, clip_std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    new_mean, new_std = torch.tensor(mean), torch.tensor(std)
    shape = (1, 3, 1, 1)
    return (clip_std / new_std).view(shape), ((clip_mean - new_mean) / new_std).view(shape)
