import json

import numpy as np
import pytest
from conftest import write_picture
from PIL import Image

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.builders import build_eval_dataset
from minigpt4.datasets.prepare.cli import main
from minigpt4.datasets.prepare.masks import mask_boxes, read_mask
from minigpt4.datasets.prepare.mvtec import prepare_mvtec
from minigpt4.datasets.prepare.splitting import group_pictures, split_groups
from minigpt4.datasets.prepare.trees import read_tree

SIZE = (100, 50)


def write_mask(path, *boxes, size=SIZE, mode="L"):
    """A mask that is lit in boxes of pixels, their outer edges included as in a slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = 255
    Image.fromarray(mask).convert(mode).save(path)


@pytest.fixture
def tree(tmp_path):
    """MVTec AD's layout: two classes; one picture lacks its mask, one mask its picture."""
    root = tmp_path / "mvtec"
    for c, name in enumerate(("bottle", "tile")):
        for i in range(6):
            write_picture(root / f"{name}/train/good/{i:03d}.png", 100 * c + i, SIZE)
        for i in range(2):
            write_picture(root / f"{name}/test/good/{i:03d}.png", 100 * c + 10 + i, SIZE)
        for i in range(5):
            write_picture(root / f"{name}/test/cut/{i:03d}.png", 100 * c + 20 + i, SIZE)
            write_mask(
                root / f"{name}/ground_truth/cut/{i:03d}_mask.png",
                (10, 10, 30, 20 + i),
                (60, 30, 80, 45),
            )
    (root / "bottle/ground_truth/cut/004_mask.png").unlink()
    write_mask(root / "tile/ground_truth/cut/077_mask.png", (1, 1, 2, 2))
    (root / "license.txt").write_text("x")
    return root


@pytest.fixture
def flat(tmp_path):
    """The layout of the magnetic tiles."""
    root = tmp_path / "tiles"
    for k, (kind, boxes) in enumerate({"MT_Crack": [(0, 0, 50, 25)], "MT_Free": []}.items()):
        for i in range(8):
            # Far apart in number and look, so each is an object of its own.
            stem = root / kind / "Imgs" / f"exp1_num_{10000 * k + 1000 * i}"
            write_picture(stem.with_suffix(".jpg"), 50 * k + i, SIZE)
            write_mask(stem.with_suffix(".png"), *boxes)
    return root


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


class TestMVTecTree:
    def test_every_usable_picture_becomes_one_entry(self, tree, tmp_path):
        report = prepare_mvtec(tree, tmp_path / "out", val_share=0.25)
        rows = read(tmp_path / "out/train_data.json") + read(tmp_path / "out/val_data.json")
        assert len({row["image_path"] for row in rows}) == len(rows) == 25
        by_path = {row["image_path"]: row for row in rows}
        assert by_path["bottle/test/cut/002.png"] == {
            "image_path": "bottle/test/cut/002.png",
            "class": "bottle",
            "is_broken": True,
            "bbox": [10, 20, 80, 90],
            "defect": "cut",
        }
        good = by_path["tile/train/good/003.png"]
        assert (good["is_broken"], good["bbox"]) == (False, [0, 0, 100, 100])
        assert report.skipped == {"defect without a mask": ["bottle/test/cut/004.png"]}
        assert report.stray_masks == ["tile/ground_truth/cut/077_mask.png"]
        assert report.counts["tile/cut"] == {"train": 4, "val": 1}
        assert report.counts["bottle/good"] == {"train": 6, "val": 2}

    def test_several_boxes(self, tree, tmp_path):
        prepare_mvtec(tree, tmp_path / "out", boxes="many", val_share=0)
        rows = {row["image_path"]: row for row in read(tmp_path / "out/train_data.json")}
        row = rows["tile/test/cut/000.png"]
        assert row["boxes"] == [[10, 20, 30, 40], [60, 60, 80, 90]]
        assert row["bbox"] == [10, 20, 80, 90]
        assert rows["tile/test/good/000.png"]["boxes"] == [[0, 0, 100, 100]]

    def test_the_split_depends_on_the_seed_alone(self, tree, tmp_path):
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            prepare_mvtec(tree, tmp_path / name, seed=seed, val_share=0.3)
        a, b, c = (read(tmp_path / name / "val_data.json") for name in "abc")
        assert a == b != c

    @pytest.mark.parametrize("place", ["link", "copy"])
    def test_evaluation_finds_the_pictures_without_more_settings(self, tree, tmp_path, place):
        prepare_mvtec(tree, tmp_path / "out", place=place)
        settings = EvalDatasetSettings(eval_file_path=str(tmp_path / "out/val_data.json"))
        dataset = build_eval_dataset("mvtec_ad", settings, vis_processor=lambda image: image.size)
        assert dataset[0].image == SIZE
        assert (tmp_path / "out/images").is_symlink() == (place == "link")

    def test_it_can_be_run_again_but_not_over_other_pictures(self, tree, flat, tmp_path):
        for _ in range(2):
            prepare_mvtec(tree, tmp_path / "out")
        with pytest.raises(DataError, match="images is there already"):
            prepare_mvtec(flat, tmp_path / "out")

    def test_one_class_alone(self, tree):
        tree_of_one = read_tree(tree / "tile")
        assert {entry.object_class for entry in tree_of_one.entries} == {"tile"}

    def test_unusable_masks_are_left_out_and_said(self, tree, tmp_path):
        write_mask(tree / "tile/ground_truth/cut/000_mask.png", (1, 1, 9, 9), size=(50, 50))
        (tree / "tile/ground_truth/cut/001_mask.png").write_bytes(b"no")
        write_mask(tree / "tile/ground_truth/cut/002_mask.png")
        report = prepare_mvtec(tree, tmp_path / "out")
        assert report.skipped["mask cannot be used"] == [
            "tile/test/cut/000.png",
            "tile/test/cut/001.png",
        ]
        assert report.skipped["defect with an empty mask"] == ["tile/test/cut/002.png"]
        assert "left out, defect with an empty mask: 1" in "\n".join(report.lines())


class TestFlatTree:
    def test_empty_masks_mean_good(self, flat, tmp_path):
        prepare_mvtec(flat, tmp_path / "out", val_share=0.25)
        rows = read(tmp_path / "out/train_data.json") + read(tmp_path / "out/val_data.json")
        assert {(r["class"], r["defect"], r["is_broken"]) for r in rows} == {
            ("tiles", "crack", True),
            ("tiles", "good", False),
        }
        assert all(r["bbox"] == [0, 0, 50, 50] for r in rows if r["is_broken"])
        assert len(rows) == 16

    def test_the_class_can_be_named(self, flat):
        assert {e.object_class for e in read_tree(flat, class_name="t").entries} == {"t"}

    def test_photographs_of_one_part_stay_on_one_side(self, flat, tmp_path):
        for i in range(8):
            folder = flat / "MT_Crack/Imgs"
            for ending in (".jpg", ".png"):
                source = folder / f"exp1_num_{1000 * i}{ending}"
                (folder / f"exp2_num_{1000 * i + 20}{ending}").write_bytes(source.read_bytes())
        report = prepare_mvtec(flat, tmp_path / "out", val_share=0.25)
        assert report.groups == 16
        sides = [
            {int(r["image_path"].split("_num_")[1][:-4]) // 1000 for r in read(path)}
            for path in sorted((tmp_path / "out").glob("*_data.json"))
        ]
        assert not sides[0] & sides[1]
        assert all(sides)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(),
                                  lambda p: (p / "a").mkdir(parents=True)])  # fmt: skip
def test_a_folder_of_neither_layout_is_explained(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(DataError, match=str(tmp_path / "x")):
        read_tree(tmp_path / "x")


def test_a_share_that_is_none(tree, tmp_path):
    with pytest.raises(ConfigError, match="val-share"):
        prepare_mvtec(tree, tmp_path / "out", val_share=20)


def test_the_command_says_what_it_found(tree, tmp_path, capsys):
    main(["mvtec", "--root", str(tree), "--out", str(tmp_path / "out"), "--val-share", "0.25"])
    printed = capsys.readouterr().out
    assert "bottle/cut" in printed and "masks without a picture: 1" in printed
    assert read(tmp_path / "out/report.json")["layout"] == "mvtec"


class TestMasks:
    def test_grey_levels_count_from_half_brightness(self, tmp_path):
        mask = np.zeros((50, 100), dtype=np.uint8)
        mask[10:20, 10:20], mask[20:25, 10:20] = 200, 60
        Image.fromarray(mask).save(tmp_path / "m.png")
        lit = read_mask(tmp_path / "m.png", write_picture(tmp_path / "p.png", 0, SIZE))
        assert lit.sum() == 100
        Image.fromarray((mask > 0).astype(np.uint8)).save(tmp_path / "labels.png")
        assert read_mask(tmp_path / "labels.png", tmp_path / "p.png").sum() == 150

    def test_specks_are_no_parts(self):
        mask = np.zeros((100, 100), dtype=bool)
        mask[10:40, 10:40] = mask[90, 90] = True
        assert mask_boxes(mask, many=True) == [(10, 10, 40, 40)]
        assert mask_boxes(mask, many=False) == [(10, 10, 91, 91)]
        assert mask_boxes(np.zeros((5, 5), dtype=bool), many=True) == []


class TestSplitting:
    def test_strata_give_their_share(self):
        strata = ["a"] * 100 + ["b"] * 20
        chosen = split_groups(strata, list(range(120)), share=0.2, seed=0)
        assert (sum(chosen[:100]), sum(chosen[100:])) == (20, 4)

    def test_groups_stay_together_and_strata_are_on_both_sides(self):
        groups = [i // 4 for i in range(40)] + [100, 100, 101]
        strata = ["a", "b"] * 20 + ["c"] * 3
        for seed in range(10):
            chosen = split_groups(strata, groups, share=0.2, seed=seed)
            assert all(len({c for c, g in zip(chosen, groups, strict=True) if g == group}) == 1
                       for group in set(groups))  # fmt: skip
            for stratum in "abc":
                sides = {c for c, s in zip(chosen, strata, strict=True) if s == stratum}
                assert sides == {True, False}

    @pytest.mark.parametrize("share", [0, 1])
    def test_all_on_one_side(self, share):
        assert split_groups(["a"] * 4, [0, 1, 2, 3], share=share, seed=0) == [bool(share)] * 4

    def test_near_copies_are_found_whatever_their_light(self, tmp_path):
        one = write_picture(tmp_path / "a.png", 1, SIZE)
        with Image.open(one) as image:
            dark = image.point(lambda value: value // 2 + 40)
        dark.save(tmp_path / "b.png")
        other = write_picture(tmp_path / "c.png", 2, SIZE)
        paths = [one, tmp_path / "b.png", other]
        assert group_pictures(paths, similarity=0.8) == [0, 0, 2]
        assert group_pictures(paths) == [0, 1, 2]

    def test_near_numbers_are_one_sitting(self, tmp_path):
        paths = [tmp_path / f"exp{i}_num_{n}.jpg" for i, n in enumerate((10, 500, 90, 40))]
        assert group_pictures(paths, number_gap=60) == [0, 1, 0, 0]
