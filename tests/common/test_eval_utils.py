import json
from pathlib import Path

import pytest

from minigpt4.common import boxes, eval_utils
from minigpt4.common.eval_utils import eval_parser, prepare_texts
from minigpt4.conversation.conversation import CONV_VISION_minigptv2

ORIGINAL = json.loads(
    (Path(__file__).parents[1] / "fixtures/scoring/original.json").read_text("utf-8")
)


def test_prompts_are_the_originals():
    template = CONV_VISION_minigptv2.copy()
    template.system = ""
    assert prepare_texts(["[vqa] q"], template) == ORIGINAL["prepare_texts"]
    assert template.messages == CONV_VISION_minigptv2.messages
    assert len(prepare_texts(["[vqa] a", "[vqa] b"], template)) == 2


def test_iou_is_the_originals():
    assert eval_utils.computeIoU is boxes.computeIoU


def test_words_of_the_command_line():
    args = eval_parser().parse_args(
        ["--cfg-path", "x.yaml", "--options", "run.save_path=a", "--options", "run.seed=1", "b=2"]
    )
    assert args.cfg_path == "x.yaml"
    assert args.options == ["run.save_path=a", "run.seed=1", "b=2"]
    assert eval_parser().parse_args(["--cfg-path", "x.yaml"]).options is None


def test_short_words_override_the_file():
    args = eval_parser().parse_args(
        ["--cfg-path", "x.yaml", "--ckpt", "my.pth", "--lora_r", "8", "--options", "run.seed=1"]
    )
    assert args.ckpt == "my.pth"
    assert args.options == ["model.ckpt=my.pth", "model.lora_r=8", "run.seed=1"]


def test_a_configuration_is_needed():
    with pytest.raises(SystemExit):
        eval_parser().parse_args([])
