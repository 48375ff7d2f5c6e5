"""Each benchmark of MiniGPT-v2 from its files to its figures, worked out by hand."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from scripted import ScriptedModel, picture

from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.models.ranking import RankedAnswer
from minigpt4.tasks.eval_setup import open_entries
from minigpt4.tasks.evaluate import evaluate

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures/benchmarks"
PICTURES = {
    "okvqa": ["000000000042.jpg", "000000000977.jpg"],
    "vizwiz": [f"VizWiz_val_{number:08d}.jpg" for number in range(3)],
    "gqa": ["n161313.jpg", "n235859.jpg"],
    "iconvqa": [f"{name}/image.png" for name in ("98912", "40", "7")],
    "vsr": [f"{number:012d}.jpg" for number in (5, 6)],
    "hateful_meme": [f"img/{number:05d}.png" for number in (8291, 46971, 3745, 83745)],
    "train2014": [f"COCO_train2014_{number:012d}.jpg" for number in (581857, 581563, 580957)],
}
FOLDER = {"hm": "hateful_meme"}
QUESTION = "[vqa] Based on the image, respond to this question with a short answer: "


class RankingModel(ScriptedModel):
    """Puts the scripted candidate first; the others follow in their order."""

    def __init__(self, choices):
        super().__init__([])
        self.choices = list(choices)
        self.asked = []

    def rank_answers(self, images, texts, candidates, *, image_features=None, picture_of=None):
        self.prompts += texts
        ranked = []
        for row in candidates:
            self.asked.append(list(row))
            best = self.choices.pop(0)
            order = [best, *(each for each in row if each != best)]
            ranked.append(
                [RankedAnswer(row.index(e), e, -1.0 - n, -1.0) for n, e in enumerate(order)]
            )
        return ranked


@pytest.fixture(autouse=True)
def _ask_in_order(monkeypatch):
    """The scripted answers are those of the samples as they stand in the file."""
    monkeypatch.setattr(
        "minigpt4.tasks.evaluate.asking_order", lambda samples: list(range(len(list(samples))))
    )


@pytest.fixture
def folder(tmp_path):
    """The original's tree of evaluation data, with made-up pictures."""
    root = tmp_path / "data"
    shutil.copytree(FIXTURES, root)
    for place, names in PICTURES.items():
        for seed, name in enumerate(names):
            path = root / place / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed).save(path)
    return root


def open_config(folder, name, **entry):
    """One entry as in the published configuration: a folder, the pictures, nothing else."""
    own = folder / FOLDER.get(name, name)
    refers = name.startswith("ref")
    entry = {
        "eval_file_path": str(folder if refers else own),
        "img_path": str((folder / "train2014" if refers else own) / "pictures"),
        "batch_size": 2,
        "max_new_tokens": 20,
        **entry,
    }
    content = {
        "model": {"arch": "minigpt_v2", "image_size": 8},
        "evaluation_datasets": {name: entry},
        "run": {"save_path": str(folder.parent / "out"), "device": "cpu"},
    }
    file = folder.parent / "eval.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Config(SimpleNamespace(cfg_path=str(file), options=None))


def run(folder, name, answers, **entry):
    model = answers if isinstance(answers, ScriptedModel) else ScriptedModel(answers)
    return evaluate(open_config(folder, name, **entry), name, model=model), model


def test_okvqa_counts_how_many_of_ten_people_agree(folder):
    result, model = run(folder, "okvqa", ["Winter", "horse", "petrol"])
    # 8 of 10; 2 of 10 (leaving one out: twice 1/3, eight times 2/3); none.
    assert result.metrics["accuracy"] == pytest.approx((1 + (2 / 3 + 16 / 3) / 10 + 0) / 3)
    assert result.metrics["metric"] == "vqa"
    assert set(result.metrics["by_type"]) == {"ten", "four", "one"}
    assert result.predictions[1].meta["answers"].count("donkey") == 8
    assert [each.picture for each in result.predictions] == [
        "000000000042.jpg", "000000000042.jpg", "000000000977.jpg",
    ]  # fmt: skip
    # Questions are asked as they are written, not lower-cased as captions.
    assert f"{QUESTION}What season do the bare trees suggest? " in model.prompts[0]


def test_okvqa_with_pictures_named_as_in_2014(folder):
    pictures = folder / "okvqa/pictures"
    for path in list(pictures.iterdir()):
        path.rename(path.with_name(f"COCO_val2014_{path.name}"))
    result, _ = run(folder, "okvqa", ["winter"] * 3)
    assert result.predictions[2].picture == "COCO_val2014_000000000977.jpg"


def test_okvqa_by_its_official_question_file(folder):
    path = folder / "okvqa/OpenEnded_mscoco_val2014_questions_clean.json"
    result, _ = run(folder, "okvqa", ["winter", "x", "gas"], eval_file_path=str(path))
    assert result.metrics["accuracy"] == pytest.approx(2 / 3)
    saved = json.loads((folder.parent / "out/okvqa.json").read_text("utf-8"))
    assert [(row["question_id"], row["answer"]) for row in saved][2] == (977105, "gas")


def test_okvqa_without_its_second_file(folder):
    (folder / "okvqa/mscoco_val2014_annotations_clean.json").unlink()
    with pytest.raises(DataError, match=r"second file, .*mscoco_val2014_annotations_clean\.json"):
        run(folder, "okvqa", [])


def test_okvqa_with_a_second_file_of_another_release(folder):
    path = folder / "okvqa/mscoco_val2014_annotations_clean.json"
    content = json.loads(path.read_text("utf-8"))
    content["annotations"] = content["annotations"][1:]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"1 of 3 questions .* question_id \(977105\)"):
        run(folder, "okvqa", [])


def test_vizwiz_is_right_by_thirds(folder):
    result, model = run(folder, "vizwiz", ["Basil", "1 2", "on"])
    assert result.metrics["accuracy"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert "unanswerable" in model.prompts[0]
    assert result.metrics["by_type"]["unanswerable"]["accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "file", ["testdev_balanced_questions.json", "test_balanced_questions.json"]
)
def test_gqa_in_its_own_form_and_as_a_list(folder, file):
    path = str(folder / "gqa" / file)
    result, model = run(folder, "gqa", ["No", "a girl"], eval_file_path=path)
    assert result.metrics["accuracy"] == 0.5
    assert [each.picture for each in result.predictions] == ["n161313.jpg", "n235859.jpg"]
    assert f"{QUESTION}Is it overcast? " in model.prompts[0]
    assert "semantic" not in result.predictions[0].meta
    if file.startswith("testdev"):
        assert result.metrics["by_type"]["verify"]["accuracy"] == 1.0
        assert result.predictions[0].meta["question_id"] == "201307251"


def test_iconqa_ranks_each_questions_own_choices(folder):
    model = RankingModel(["star", "no", "5"])
    result, _ = run(folder, "iconvqa", model)
    assert model.asked == [["circle", "square", "star"], ["yes", "no"], ["3", "5"]]
    # The right choice is given by its number or, in the last row, by its text.
    assert [each.meta["answer"] for each in result.predictions] == ["star", "yes", "5"]
    assert result.metrics["accuracy"] == pytest.approx(2 / 3)


def test_vsr_is_true_or_false(folder):
    result, model = run(folder, "vsr", ["True", "true", "false"])
    assert result.metrics["accuracy"] == pytest.approx(1 / 3)
    assert "The cat is under the chair." in model.prompts[0]
    assert [each.meta["answer"] for each in result.predictions] == ["true", "false", "true"]
    # A true statement called true ties with the false one; the other stands below it.
    assert result.metrics["binary"]["auroc"] == pytest.approx(0.25)
    assert set(result.metrics["by_type"]) == {"under", "left of", "facing"}


def test_vsr_by_the_name_of_its_hub_is_not_downloaded(folder):
    with pytest.raises(DataError, match=r"cambridgeltl/vsr_zeroshot.*data/README\.md"):
        run(folder, "vsr", [], eval_file_path="cambridgeltl/vsr_zeroshot")


def test_hateful_memes_is_yes_or_no(folder):
    result, model = run(folder, "hm", ["no", "yes", "Yes", "I think no"])
    assert result.metrics["accuracy"] == 0.5
    assert '"they should all leave"' in model.prompts[1]
    binary = result.metrics["binary"]
    assert binary["neither"] == 1
    assert binary["f1"] == pytest.approx(0.5)
    assert binary["auroc"] == pytest.approx(2.5 / 4)


def test_hateful_memes_without_labels(folder):
    path = folder / "hateful_meme/dev.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        del row["label"]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(DataError, match=r"dev\.jsonl, row 0 has no label"):
        run(folder, "hm", [])


def test_refcoco_split_by_split(folder):
    cfg = open_config(folder, "refcoco")
    val, test_a, test_b = open_entries(cfg, ["refcoco"])
    assert [each.name for each in (val, test_a, test_b)] == [
        "refcoco_val", "refcoco_testA", "refcoco_testB",
    ]  # fmt: skip
    answers = [
        "{<16><62><37><99>}",  # IoU 0.954
        "<p>woman in blue</p> {<16><62><37><99>}",  # the original wants the box first
        "{<0><0><50><13>} 1 of 2",  # IoU 0.52; the original wants no other number
        "{<25><25><75><50>}",  # 5000 / 10060 px, with a pixel more a side 51 / 101.6
    ]
    model = ScriptedModel(answers)
    result = evaluate(cfg, val.name, data=val, model=model)
    metrics = result.metrics
    assert metrics["accuracy"] == 0.75
    assert metrics["accuracy_75"] == 0.5
    assert metrics["mean_iou"] == pytest.approx((2 * 0.95400 + 0.52 + 5000 / 10060) / 4, abs=1e-5)
    assert metrics["original_protocol"]["accuracy"] == 0.5
    assert metrics["unparsed"] == 0
    assert "[refer] give me the location of the lady with the blue shirt " in model.prompts[0]
    assert result.predictions[0].reference == "{<16><62><37><99>}"
    # Answers of one object stand together, as the original writes them.
    saved = json.loads((folder.parent / "out/refcoco_val.json").read_text("utf-8"))
    assert saved["COCO_train2014_000000581857_16"] == answers[:2]
    other = evaluate(cfg, test_a.name, data=test_a, model=ScriptedModel(["the right one"]))
    assert (other.metrics["accuracy"], other.metrics["unparsed"]) == (0.0, 1)


@pytest.mark.parametrize(
    ("name", "splits"),
    [("refcoco+", ["refcoco+_val"]), ("refcocog", ["refcocog_val", "refcocog_test"])],
)
def test_splits_are_those_that_are_there(folder, name, splits):
    found = open_entries(open_config(folder, name), [name])
    assert [each.name for each in found] == splits
    result = evaluate(
        open_config(folder, name), splits[0], data=found[0],
        model=ScriptedModel(["{<50><0><100><100>}"]),
    )  # fmt: skip
    assert result.metrics["accuracy"] == 1.0
    assert result.metrics["mean_iou"] == pytest.approx(1.0)


def test_a_split_that_was_asked_for_is_not_there(folder):
    cfg = open_config(folder, "refcoco+", splits=["val", "testA"])
    with pytest.raises(DataError, match=r"no refcoco\+_testA\.json in .*data/README\.md"):
        open_entries(cfg, ["refcoco+"])
    cfg = open_config(folder, "refcoco", splits=["train"])
    with pytest.raises(ConfigError, match=r"train is not known \(known: val, testA, testB\)"):
        open_entries(cfg, ["refcoco"])


def test_a_folder_without_the_file(folder):
    with pytest.raises(DataError, match=r"no val\.json in .*/gqa"):
        run(folder, "vizwiz", [], eval_file_path=str(folder / "gqa"))


def test_missing_pictures_are_named(folder):
    (folder / "iconvqa/pictures/40/image.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures are missing .*40/image\.png"):
        run(folder, "iconvqa", RankingModel([]))


def test_a_wrong_choice_and_a_wrong_box(folder):
    path = folder / "iconvqa/choose_text_val.json"
    rows = json.loads(path.read_text("utf-8"))
    rows[1]["answer"] = 2
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 1: answer 2 is none of its 2 choices"):
        run(folder, "iconvqa", RankingModel([]))
    path = folder / "refcoco/refcoco_testA.json"
    rows = json.loads(path.read_text("utf-8"))
    rows[0]["bbox"] = [700, 0, 20, 20]
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 0: .*outside of its picture \(640 by 480\)"):
        open_entries(open_config(folder, "refcoco", splits=["testA"]), ["refcoco"])


def test_the_entry_overrides_what_the_name_brings(folder):
    result, model = run(
        folder, "vsr", ["yes", "no", "yes"],
        build_info={
            "eval_prompt": "[vqa] Yes or no: {caption}",
            "reader_options": {"labels": {"label": {1: "yes", 0: "no"}}},
        },
    )  # fmt: skip
    assert result.metrics["accuracy"] == 1.0
    assert "[vqa] Yes or no: The cat is under the chair. " in model.prompts[0]


def test_what_a_name_brings_is_weaker_than_the_users_file(folder):
    cfg = open_config(folder, "vizwiz", metric="anls", files={"val": "other.json"})
    settings = cfg.eval_dataset("vizwiz")
    assert (settings.kind, settings.metric, settings.files["val"]) == ("vqa", "anls", "other.json")
    assert cfg.origin("evaluation_datasets.vizwiz.metric").startswith(str(folder.parent))
    assert "evaluation/vizwiz.yaml" in cfg.origin("evaluation_datasets.vizwiz.kind")


def test_the_shipped_configuration_names_all_nine():
    file = ROOT / "eval_configs/minigptv2_benchmarks.yaml"
    cfg = Config(SimpleNamespace(cfg_path=str(file), options=None))
    names = set(cfg.eval_dataset_names)
    assert names == {
        "okvqa", "vizwiz", "gqa", "iconvqa", "vsr", "hm", "refcoco", "refcoco+", "refcocog",
    }  # fmt: skip
    assert cfg.eval_dataset("iconvqa").decoding == "rank"
    assert cfg.eval_dataset("refcoco+").kind == "refer"
    assert cfg.eval_dataset("okvqa").metric == "vqa"
