import pytest
from scripted import ScriptedModel, said, write_mvtec, write_vivqa

from minigpt4.common.errors import ResourceError
from minigpt4.common.files import make_folder, write_json
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.conversation.prompts import MVTEC_PROMPT
from minigpt4.datasets.builders import build_eval_dataset
from minigpt4.models.generation import GenerationOptions
from minigpt4.processors import Blip2ImageEvalProcessor
from minigpt4.scoring.defect_answers import answer_spans
from minigpt4.tasks.answer_plan import AnswerPlan
from minigpt4.tasks.predict import predict

ROWS = [("màu của chiếc xe là gì", "màu đỏ", 5, 2), ("có mấy con mèo", "hai", 9, 1)] * 3
GREEDY = AnswerPlan(search=GenerationOptions(max_new_tokens=8))


def open_data(name, path):
    settings = EvalDatasetSettings(eval_file_path=str(path))
    return build_eval_dataset(name, settings, vis_processor=Blip2ImageEvalProcessor(8))


@pytest.fixture
def vivqa(tmp_path):
    return open_data("vivqa", write_vivqa(tmp_path / "ViVQA", ROWS[:5]))


def test_every_sample_once_in_order(vivqa):
    model = ScriptedModel(["a", "b", "c", "d", "e"])
    made = predict(model, vivqa, batch_size=2, plan=GREEDY)
    assert [each.answer for each in made] == list("abcde")
    assert len({each.id for each in made}) == 5
    assert [each.reference for each in made] == [row[1] for row in ROWS[:5]]
    assert model.batches == [2, 2, 1]


def test_few_samples_are_in_the_model_at_once(vivqa):
    model = ScriptedModel(list("abcde"))
    predict(model, vivqa, batch_size=4, plan=GREEDY, at_once=2)
    assert model.batches == [4, 1]
    assert model.at_once == [2, None]


def test_chosen_samples_only(vivqa):
    made = predict(ScriptedModel(["x", "y"]), vivqa, batch_size=4, plan=GREEDY, indices=[3, 0])
    assert [int(each.meta["img_id"]) for each in made] == [9, 5]


def test_prompts_are_those_of_training_or_of_the_original(vivqa):
    question = (
        "<Img><ImageHere></Img> [vqa] Based on the image, respond to this question with a short "
        "answer: màu của chiếc xe là gì"
    )
    model = ScriptedModel(list("abcde"))
    predict(model, vivqa, batch_size=5, plan=GREEDY)
    assert model.prompts[0] == f"[INST] {question}  [/INST]"
    model = ScriptedModel(list("abcde"), style="original")
    predict(model, vivqa, batch_size=5, plan=GREEDY)
    assert model.prompts[0] == f"<s>[INST] {question} [/INST]"
    model = ScriptedModel(list("abcde"), style="original")
    predict(model, vivqa, batch_size=5, plan=GREEDY, style="training")
    assert model.prompts[0] == f"[INST] {question}  [/INST]"


def test_a_training_model_goes_on_training(vivqa):
    model = ScriptedModel(list("abcde"))
    predict(model.train(), vivqa, batch_size=5, plan=GREEDY)
    assert model.training
    with pytest.raises(IndexError):  # runs out of answers
        predict(model, vivqa, batch_size=5, plan=GREEDY)
    assert model.training


def test_predictions_are_handed_over_batch_by_batch(vivqa):
    batches = []
    with pytest.raises(IndexError):  # runs out of answers
        predict(ScriptedModel(["đỏ", "b"]), vivqa, batch_size=2, plan=GREEDY, save=batches.append)
    assert [[each.answer for each in batch] for batch in batches] == [["đỏ", "b"]]
    assert batches[0][0].meta["type"] is not None


def test_what_is_known_of_a_sample_besides_is_added_to_its_meta(vivqa):
    made = predict(
        ScriptedModel(["a", "b"]), vivqa, batch_size=2, plan=GREEDY, indices=[0, 1],
        extras={vivqa[1].id: {"train_count": 3}},
    )  # fmt: skip
    assert "train_count" not in made[0].meta
    assert made[1].meta["train_count"] == 3 and made[1].meta["answer"] == "hai"


def test_named_parts_of_an_answer_get_their_probability(tmp_path):
    path = write_mvtec(tmp_path, [("cap/good/0.png", None), ("cap/cut/0.png", (1, 2, 3, 4))])
    data = open_data("mvtec_ad", path)
    model = ScriptedModel([said("cap", "not-defect"), "?"])
    first, second = predict(model, data, batch_size=2, plan=GREEDY, spans=answer_spans)
    assert model.prompts[0].endswith(f"{MVTEC_PROMPT}  [/INST]")
    assert first.probabilities["label"] == 1.0
    assert second.probabilities == {}
    assert first.reference == said("cap", "not-defect")


def test_a_folder_that_cannot_be_made_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"run\.save_path"):
        make_folder(tmp_path / "file" / "below")


def test_json_keeps_vietnamese_letters(tmp_path):
    write_json(tmp_path / "new" / "x.json", {"đáp án": "hai"})
    assert "đáp án" in (tmp_path / "new" / "x.json").read_text("utf-8")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.json"]
