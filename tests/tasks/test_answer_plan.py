"""Ways of finding answers, from the configuration to what the model is asked."""

import json
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import yaml
from scripted import ScriptedModel, said, write_mvtec, write_vivqa

from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.tasks.evaluate import evaluate

QUESTIONS = [("con gì", "mèo", 1, 0), ("màu gì", "đỏ", 2, 2)]


class Recording(ScriptedModel):
    """Keeps the constraints and candidates that it is given; ranks the last candidate first."""

    def __init__(self, answers=()):
        super().__init__(answers)
        self.constraints = []
        self.candidates = []

    def generate_scored(self, *args, constraint=None, **options):
        self.constraints.append(constraint and constraint.describe())
        return super().generate_scored(*args, **options)

    def rank_answers(self, images, texts, candidates, *, image_features=None, picture_of=None):
        assert len(images) == len(set(picture_of or range(len(texts))))
        assert len(texts) == len(candidates)
        assert texts[0].startswith("[INST] <Img>")
        self.candidates += candidates
        return [
            [SimpleNamespace(text=each, logprob=-0.5) for each in reversed(row)]
            for row in candidates
        ]


@pytest.fixture
def folder(tmp_path):
    write_vivqa(tmp_path / "ViVQA", QUESTIONS)
    rows = "".join(f"{i},{q},{a},9,0\n" for i, (q, a, _, _) in enumerate(
        [("a", "chó", 0, 0), ("b", "mèo", 0, 0), ("c", "chó", 0, 0)]
    ))  # fmt: skip
    (tmp_path / "ViVQA" / "train.csv").write_text(f",question,answer,img_id,type\n{rows}", "utf-8")
    write_mvtec(tmp_path / "M", [("cap/cut/0.png", (1, 2, 30, 40)), ("nut/good/0.png", None)])
    return tmp_path


def run(folder, name, model, **entry):
    files = {"vivqa": folder / "ViVQA" / "test.csv", "mvtec_ad": folder / "M" / "val_data.json"}
    content = {
        "model": {"arch": "minigpt_v2", "image_size": 8},
        "evaluation_datasets": {name: {"eval_file_path": str(files[name]), **entry}},
        "run": {"save_path": str(folder / "out"), "device": "cpu", "bootstrap": 0},
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    cfg = Config(SimpleNamespace(cfg_path=str(path), options=None))
    return evaluate(cfg, name, model=model, report=False)


def header(folder, name) -> Mapping:
    with (folder / "out" / f"{name}_predictions.jsonl").open(encoding="utf-8") as file:
        return json.loads(file.readline())["run"]


def test_free_by_default(folder):
    model = Recording(["mèo", "xanh"])
    run(folder, "vivqa", model)
    assert model.constraints == [None]
    assert header(folder, "vivqa")["decoding"]["mode"] == "free"


def test_grammar_knows_the_objects_of_the_data(folder):
    model = Recording([said("cap", "defect", (1, 2, 30, 40)), said("nut", "not-defect")])
    run(folder, "mvtec_ad", model, decoding="grammar")
    (constraint,) = model.constraints
    assert constraint["classes"] == ["cap", "nut"] and constraint["max_boxes"] == 1
    assert header(folder, "mvtec_ad")["decoding"]["constraint"] == constraint


def test_grammar_allows_as_many_boxes_as_training_has(folder):
    rows = [
        {"image_path": "x.png", "class": "cap", "is_broken": True, "bbox": boxes}
        for boxes in ([1, 2, 3, 4], [[1, 2, 3, 4], [5, 6, 7, 8], [9, 9, 10, 10]])
    ]
    (folder / "M" / "train_data.json").write_text(json.dumps(rows), "utf-8")
    model = Recording(["?", "?"])
    run(folder, "mvtec_ad", model, decoding="grammar")
    assert model.constraints[0]["max_boxes"] == 3


def test_answers_of_training_or_of_a_file(folder):
    model = Recording(["mèo", "chó"] * 2)
    run(folder, "vivqa", model, decoding="answers")
    assert model.constraints[0]["count"] == 2
    (folder / "answers.txt").write_text("mèo\n\n  đỏ \nchó\nmèo\n", "utf-8")
    run(folder, "vivqa", model, decoding="answers", answers_file=str(folder / "answers.txt"))
    assert model.constraints[-1]["count"] == 3, "another closed set is another run"


def test_ranking_of_a_closed_set(folder):
    (folder / "answers.txt").write_text("mèo\nđỏ\n", "utf-8")
    model = Recording()
    result = run(folder, "vivqa", model, decoding="rank", answers_file=str(folder / "answers.txt"))
    assert model.candidates == [["mèo", "đỏ"]] * 2
    assert [each.answer for each in result.predictions] == ["đỏ", "đỏ"]
    assert result.predictions[0].probability == pytest.approx(0.6065, abs=1e-4)
    assert result.metrics["accuracy"] == 0.5


def test_ranking_of_each_samples_choices(folder):
    rows = [
        {"question": "q", "answer": "b", "choices": ["a", "b"], "img_id": 1},
        {"question": "q", "answer": "c", "choices": ["c", "d", "e"], "img_id": 2},
    ]
    file = folder / "ViVQA" / "test.json"
    file.write_text(json.dumps(rows), "utf-8")
    model = Recording()
    result = run(folder, "vivqa", model, decoding="rank", eval_file_path=str(file))
    assert model.candidates == [["a", "b"], ["c", "d", "e"]]
    assert [each.answer for each in result.predictions] == ["b", "e"]


@pytest.mark.parametrize(
    ("name", "entry", "error", "said"),
    [
        ("vivqa", {"decoding": "grammar"}, ConfigError, "for kind detection, but vivqa is of"),
        ("mvtec_ad", {"decoding": "rank"}, ConfigError, "set it to free"),
        (
            "vivqa", {"decoding": "answers", "train_file_path": ""}, ConfigError,
            "nothing to choose from.*answers_file",
        ),
        (
            "vivqa", {"decoding": "rank", "train_file_path": ""}, ConfigError,
            "or give each sample its choices",
        ),
        ("vivqa", {"decoding": "answers", "answers_file": "no.txt"}, DataError, r"no\.txt"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_is_asked(folder, name, entry, error, said):
    with pytest.raises(error, match=said):
        run(folder, name, Recording(), **entry)
    assert not (folder / "out" / f"{name}_predictions.jsonl").exists()
