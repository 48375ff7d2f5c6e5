"""Public encoder weights: downloaded once, resumed when interrupted, checked."""

from __future__ import annotations

import logging
from pathlib import Path

from minigpt4.common.download import BROKEN, download
from minigpt4.common.errors import AccessError

logger = logging.getLogger(__name__)

EVA_URL = (
    "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/eva_vit_g.pth"
)


def eva_vit_g(url: str = EVA_URL) -> Path:
    """The public EVA-CLIP weights of BLIP-2 (about 1.9 GB), in torch's hub folder.

    Raises:
        AccessError: They are not there and cannot be downloaded.
    """
    import torch

    target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not target.is_file():
        logger.info("downloading %s to %s", url, target)
        try:
            download(url, target)
        except BROKEN as error:
            raise AccessError(
                f"The encoder's public weights cannot be downloaded from {url} ({error}): "
                f"download them elsewhere and put them at {target}, or name a file in "
                "model.vit_weights; what came so far is kept and continued."
            ) from error
    return target
