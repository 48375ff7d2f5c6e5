import pytest
import torch
from conftest import open_train, write_csv, write_picture

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.collate import collate

ROWS = [
    {"before": f"a{i}.png", "after": f"later/b{i}.png", "question": "what changed?", "answer": "it"}
    for i in range(4)
]
PAIR = {"kind": "vqa", "image": "{before}", "more_images": "{after}", "prompts": "[vqa] {question}"}


@pytest.fixture
def pairs(tmp_path):
    for i in range(4):
        write_picture(tmp_path / f"images/a{i}.png", i)
        write_picture(tmp_path / f"images/later/b{i}.png", 10 + i)
    return write_csv(tmp_path / "pairs.csv", ROWS)


def test_each_picture_has_its_slot_in_order(pairs):
    dataset = open_train("pairs", pairs, pairs.parent / "images", **PAIR)
    sample = dataset[2]
    assert sample.turns[0].instruction == f"{'<Img><ImageHere></Img>' * 2} [vqa] what changed? "
    assert sample.picture == "a2.png"
    for index, column in enumerate(("before", "after")):
        alone = open_train(
            "alone", pairs, pairs.parent / "images", kind="vqa", image=f"{{{column}}}"
        )
        assert torch.equal(sample.image[index], alone[2].image)
    assert not torch.equal(sample.image[0], sample.image[1])
    assert collate([dataset[0], dataset[1]])["image"].shape == (2, 2, 3, 16, 16)
    assert {path.rpartition("/")[2] for path in dataset.image_paths()} == {
        f"{name}{i}.png" for name in "ab" for i in range(4)
    }


def test_cached_features_are_stacked_too(pairs):
    dataset = open_train("pairs", pairs, pairs.parent / "images", **PAIR)
    dataset.use_features(
        {path: torch.full((3, 2), float(path[-5])) for path in dataset.image_paths()}
    )
    assert dataset[3].features.tolist() == torch.full((2, 3, 2), 3.0).tolist()


def test_a_missing_further_picture_is_told_at_once(pairs, caplog):
    (pairs.parent / "images/later/b1.png").unlink()
    with pytest.raises(DataError, match=r"1 of 4 pictures .*b1\.png"):
        open_train("pairs", pairs, pairs.parent / "images", **PAIR)
    kept = open_train("pairs", pairs, pairs.parent / "images", on_broken="skip", **PAIR)
    assert len(kept) == 3
    assert [kept[i].picture for i in range(3)] == ["a0.png", "a2.png", "a3.png"]


def test_a_further_picture_needs_a_first(pairs):
    with pytest.raises(ConfigError, match="more_images needs a first picture"):
        open_train("pairs", pairs, None, **{**PAIR, "image": None})


def test_own_prompts_are_also_those_of_evaluation(pairs):
    dataset = open_train("pairs", pairs, pairs.parent / "images", **PAIR)
    assert dataset.spec.evaluation_prompt == "[vqa] {question}"
