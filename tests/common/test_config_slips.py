"""Data set entries whose lines are indented too deep are read as they were meant."""

from argparse import Namespace

import pytest

from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError

MEANT = """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
    text_processor:
      train:
        name: "blip_caption"
    sample_ratio: 100
"""

SLIPS = {
    "text processor and ratio inside the image processor": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
      text_processor:
        train:
          name: "blip_caption"
      sample_ratio: 100
""",
    "the ratio inside the text processor": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
    text_processor:
      train:
        name: "blip_caption"
      sample_ratio: 100
""",
    "the ratio beside the text processor's name": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
    text_processor:
      train:
        name: "blip_caption"
        sample_ratio: 100
""",
    "only the text processor too deep": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
      text_processor:
        train:
          name: "blip_caption"
    sample_ratio: 100
""",
    "only the line of the text processor too deep": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
      text_processor:
      train:
        name: "blip_caption"
    sample_ratio: 100
""",
    "two levels too deep": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
        text_processor:
          train:
            name: "blip_caption"
        sample_ratio: 100
""",
    "each inside the one before": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
      text_processor:
        train:
          name: "blip_caption"
          sample_ratio: 100
""",
    "the image processor inside the text processor": """\
datasets:
  vivqa:
    text_processor:
      train:
        name: "blip_caption"
      vis_processor:
        train:
          name: "blip2_image_train"
          image_size: 448
        batch_size: 2
        sample_ratio: 100
""",
    "train not deeper than its processor": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
        name: "blip2_image_train"
        image_size: 448
    text_processor:
    train:
      name: "blip_caption"
    sample_ratio: 100
""",
    "name beside train": """\
datasets:
  vivqa:
    batch_size: 2
    vis_processor:
      train:
      name: "blip2_image_train"
      image_size: 448
    text_processor:
      name: "blip_caption"
    sample_ratio: 100
""",
}


@pytest.fixture
def load(tmp_path):
    def load(text: str, *options: str) -> Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return Config(Namespace(cfg_path=path, options=list(options)))

    return load


def test_right_file_has_no_warning(load, caplog):
    load(MEANT)
    assert caplog.text == ""


@pytest.mark.parametrize("slip", SLIPS)
def test_slip_is_read_as_meant_with_a_warning(load, caplog, slip):
    expected = load(MEANT).to_dict()
    caplog.clear()
    assert load(SLIPS[slip]).to_dict() == expected
    assert caplog.records
    assert all(record.levelname == "WARNING" for record in caplog.records)
    assert all("config.yaml, line " in record.getMessage() for record in caplog.records)


def test_warning_says_what_was_read_where(load, caplog):
    load(SLIPS["text processor and ratio inside the image processor"])
    first, second = (record.getMessage() for record in caplog.records)
    assert "line 8: text_processor is indented too deep" in first
    assert "read as datasets.vivqa.text_processor" in first
    assert "line 11: sample_ratio" in second


def test_slip_in_one_of_several_data_sets(load):
    text = SLIPS["two levels too deep"] + MEANT.split("datasets:\n")[1].replace("vivqa", "mvtec_ad")
    config = load(text)
    assert config.dataset("vivqa").sample_ratio == config.dataset("mvtec_ad").sample_ratio == 100


def test_slip_in_a_part_that_data_sets_share(load):
    config = load(
        """\
datasets:
  vivqa:
    vis_processor: &pictures
      train:
        name: "blip2_image_train"
      sample_ratio: 100
  mvtec_ad:
    vis_processor: *pictures
"""
    )
    assert config.dataset("vivqa").sample_ratio == config.dataset("mvtec_ad").sample_ratio == 100


def test_option_wins_over_a_slipped_key(load):
    slipped = SLIPS["the ratio beside the text processor's name"]
    assert load(slipped, "datasets.vivqa.sample_ratio=3").dataset("vivqa").sample_ratio == 3


def test_mistake_in_a_slipped_key_has_its_own_line(load):
    slipped = SLIPS["text processor and ratio inside the image processor"]
    with pytest.raises(ConfigError, match=r"datasets\.vivqa\.sample_ratio \(.*line 11\).*-100"):
        load(slipped.replace("sample_ratio: 100", "sample_ratio: -100"))


def test_key_given_both_rightly_and_too_deep_is_a_mistake(load):
    text = SLIPS["text processor and ratio inside the image processor"] + "    sample_ratio: 5\n"
    with pytest.raises(ConfigError, match=r"line 11.*also given as datasets\.vivqa\.sample_ratio"):
        load(text)


def test_other_unknown_keys_in_a_processor_stay_mistakes(load):
    with pytest.raises(ConfigError, match=r"vis_processor\.train\.image_sise.*image_size"):
        load(MEANT.replace("image_size", "image_sise"))
