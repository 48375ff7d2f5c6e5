"""The quick start's own numbers: the constant baseline and the table."""

import json

import pytest

from minigpt4.common.errors import ConfigError
from minigpt4.quickstart.outcome import constant_answer_map
from minigpt4.quickstart.settings import MVTEC, QuickSettings
from minigpt4.scoring.prediction import Prediction

WHOLE = [0, 0, 100, 100]


def _row(name: str, *, broken: bool, box: list[int]) -> dict[str, object]:
    return {"image_path": name, "class": "tile", "is_broken": broken, "bbox": box}


def _prediction(row: dict[str, object]) -> Prediction:
    return Prediction(
        id=str(row["image_path"]), answer="unused", finished=True, probability=1.0, meta=row
    )


def test_commonest_answer_is_right_about_good_parts_only(tmp_path):
    train = [_row(f"g{i}", broken=False, box=WHOLE) for i in range(3)]
    train += [_row("b", broken=True, box=[10, 10, 30, 30])]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(train), encoding="utf-8")
    only_good = [_prediction(_row(f"t{i}", broken=False, box=WHOLE)) for i in range(2)]
    only_broken = [_prediction(_row("t", broken=True, box=[10, 10, 30, 30]))]

    assert constant_answer_map(only_good, path) == pytest.approx(1.0)
    assert constant_answer_map(only_broken, path) == 0.0


def test_commonest_answer_may_be_a_defect_box(tmp_path):
    train = [_row(f"b{i}", broken=True, box=[10, 10, 30, 30]) for i in range(2)]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(train), encoding="utf-8")
    there = [_prediction(_row("t", broken=True, box=[10, 10, 30, 30]))]
    elsewhere = [_prediction(_row("t", broken=True, box=[60, 60, 90, 90]))]

    assert constant_answer_map(there, path) == pytest.approx(1.0)
    assert constant_answer_map(elsewhere, path) == 0.0


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5])
def test_scale_out_of_range_is_refused(tmp_path, scale):
    with pytest.raises(ConfigError, match="--scale"):
        QuickSettings(out=tmp_path, scale=scale)


def test_a_reduced_run_is_shorter_and_keeps_to_its_folder(tmp_path):
    whole = QuickSettings(out=tmp_path).train_config(MVTEC).run()
    reduced = QuickSettings(out=tmp_path, scale=0.25).train_config(MVTEC)

    assert reduced.run().iters_per_epoch == whole.iters_per_epoch / 4
    assert reduced.run().output_dir.startswith(str(tmp_path))
    build_info = reduced.dataset(MVTEC.name).build_info
    assert build_info["ann_path"].startswith(str(tmp_path / "data"))
