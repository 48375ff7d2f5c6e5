"""Keys of ``build_info`` directly in an entry."""

from dataclasses import fields
from types import SimpleNamespace

import pytest

from minigpt4.common.config import Config
from minigpt4.common.config_own import HOW_TO_READ, WHERE
from minigpt4.common.errors import ConfigError
from minigpt4.datasets.builders.evaluation import eval_splits
from minigpt4.datasets.spec import RecordSpec

ENTRY = """
datasets:
  mine:
    kind: detection
    reader: coco
    ann_path: train.json
    build_info: {image_path: images}
evaluation_datasets:
  mine:
    kind: detection
    reader: coco
    eval_file_path: val.json
"""


def config(tmp_path, text, *options):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return Config(SimpleNamespace(cfg_path=str(path), options=list(options)))


def test_both_places_are_one(tmp_path):
    cfg = config(tmp_path, ENTRY, "datasets.mine.val_share=0.2", "evaluation_datasets.mine.per=x")
    assert cfg.dataset("mine").build_info == {
        "image_path": "images", "reader": "coco", "ann_path": "train.json", "val_share": 0.2
    }  # fmt: skip
    assert cfg.eval_dataset("mine").build_info == {"reader": "coco", "per": "x"}
    assert "own.yaml, line 5" in cfg.origin("datasets.mine.build_info.reader")


def test_every_key_of_build_info_is_known():
    assert {item.name for item in fields(RecordSpec)} | WHERE == HOW_TO_READ | WHERE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("build_info: {", "build_info: {reader: csv, "), "also given as datasets.mine.build_info"),
        (("eval_file_path", "ann_path"), "ann_path.*unknown key"),
        (("reader: coco\n    ann", "raeder: coco\n    ann"), "raeder.*unknown key"),
    ],
)
def test_mistakes_are_listed_with_their_line(tmp_path, change, said):
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, ENTRY.replace(*change))


def evaluation_of(tmp_path, *options):
    text = ENTRY[: ENTRY.index("evaluation_datasets")] + "evaluation_datasets: {mine: {}}\n"
    return config(tmp_path, text, *options).eval_dataset("mine")


class TestInheritance:
    def test_the_share_that_training_holds_out(self, tmp_path):
        entry = evaluation_of(tmp_path, "datasets.mine.val_share=0.2", "datasets.mine.prompts=[x]")
        assert (entry.kind, entry.eval_file_path, entry.img_path) == (
            "detection", "train.json", "images"
        )  # fmt: skip
        assert entry.build_info == {"reader": "coco", "val_share": 0.2, "prompts": ["x"]}

    def test_a_file_of_its_own_is_used_whole(self, tmp_path):
        entry = evaluation_of(
            tmp_path, "datasets.mine.val_share=0.2", "datasets.mine.val_ann_path=val.json"
        )
        assert entry.eval_file_path == "val.json"
        assert entry.build_info == {"reader": "coco"}
        entry = evaluation_of(
            tmp_path,
            "datasets.mine.reader_options={split: train, config: x}",
            "evaluation_datasets.mine.eval_file_path=test.json",
            "evaluation_datasets.mine.eval_prompt=y",
        )
        assert entry.eval_file_path == "test.json"
        assert entry.build_info == {
            "reader": "coco", "reader_options": {"config": "x"}, "eval_prompt": "y"
        }  # fmt: skip

    def test_training_data_are_never_taken_by_themselves(self, tmp_path):
        assert evaluation_of(tmp_path).eval_file_path == ""

    def test_a_kind_without_figures_of_its_own_is_refused(self, tmp_path):
        entry = evaluation_of(tmp_path, "datasets.mine.kind=caption", "datasets.mine.val_share=0.2")
        with pytest.raises(ConfigError, match=r"captions, .*valid_splits"):
            eval_splits("mine", entry)

    def test_public_data_sets_keep_their_own_form(self, tmp_path):
        text = ENTRY.replace("mine", "vivqa").replace("kind: detection", "kind: vqa")
        entry = config(tmp_path, text, "datasets.vivqa.prompts=[x]").eval_dataset("vivqa")
        assert "prompts" not in entry.build_info
