"""What reports say about each kind of evaluation, with and without everything being known."""

import pytest
from pages import page, read, texts
from scripted import part, said, vqa_prediction

from minigpt4.common.boxes import format_box
from minigpt4.reports import plots
from minigpt4.reports.detection_sections import detection_card
from minigpt4.reports.gallery import Gallery
from minigpt4.reports.page import Facts, Headline, Matrix, Note, Plots, Table
from minigpt4.reports.refer_sections import refer_card
from minigpt4.reports.sections import describe_run, evaluation_sections
from minigpt4.reports.shared import MATRIX_NAMES, OTHER, confusion
from minigpt4.reports.vqa_sections import vqa_card
from minigpt4.scoring.kinds import KINDS, ScoreOptions
from minigpt4.scoring.prediction import Prediction

BOX = (10, 20, 40, 50)
RUN = {
    "name": "vivqa",
    "kind": "vqa",
    "key": "abc123",
    "data_key": "def456",
    "ckpt": "a.pth",
    "eval_file": "test.csv",
    "samples": 3,
    "blank": False,
    "prompt_style": "original",
    "decoding": {"mode": "rank", "max_new_tokens": 20, "candidates": [str(i) for i in range(339)]},
    "identity": {"secret": "not shown"},
    "overlap": {
        "train_file": "train.csv", "pictures": 2789, "pictures_in_training": 1376, "pairs": 66,
    },
}  # fmt: skip


def questions():
    made = [
        vqa_prediction("hai", "ba", type="1", question="mấy con mèo", overlap="", train_count=3),
        vqa_prediction("", "ba", type="1", question="mấy con chó", overlap="pair", train_count=0),
        vqa_prediction("đỏ", "đỏ", type="2", question="màu gì", overlap="picture", train_count=99),
    ]
    for i, each in enumerate(made):
        each.id, each.picture, each.probability = str(i), str(i), 0.3 * (i + 1)
    return made


def parts():
    return [
        part("cap/cut/0.png", said("cap", "defect", BOX), bbox=BOX, label=0.9),
        part("cap/cut/1.png", said("cap", "not-defect"), bbox=BOX, label=0.8),
        part("nut/good/0.png", said("cap", "defect", BOX), label=0.7),
        part("nut/good/1.png", "?"),
    ]


def phrases():
    def phrase(i, box):
        return Prediction(
            id=str(i), answer=f"{{{''.join(f'<{edge}>' for edge in box)}}}" if box else "nothing",
            finished=True, probability=0.5, picture=str(i), question="[refer] where is the cat",
            meta={"phrase": f"mèo {i}", "bbox": list(BOX), "split": "testA" if i else "testB"},
        )  # fmt: skip

    return [phrase(0, BOX), phrase(1, (60, 60, 90, 90)), phrase(2, None)]


def things():
    def thing(i, answer, *objects):
        return Prediction(
            id=str(i), answer=answer, finished=True, probability=0.5, picture=str(i),
            probabilities={"label_0": 0.9, "box_0": 0.5},
            meta={"image_path": f"{i}.png", "classes": [name for name, _ in objects],
                  "boxes": [list(box) for _, box in objects], "asked": ["mèo", "chó"],
                  "empty_answer": "none"},
        )  # fmt: skip

    cat = f"<p>mèo</p>{format_box(BOX)}"
    return [
        thing(0, cat, ("mèo", BOX)),
        thing(1, cat, ("mèo", (60, 60, 90, 90)), ("chó", (0, 0, 20.5, 20))),
        thing(2, "none"),
        thing(3, f"<p>chim</p>{format_box(BOX)}", ("mèo", BOX)),
    ]


MADE = {"vqa": questions, "detection": parts, "refer": phrases, "objects": things}


def sections_of(kind, predictions=None, *, run=None, **changes):
    predictions = MADE[kind]() if predictions is None else predictions
    metrics = KINDS[kind].score(predictions, ScoreOptions(resamples=50)) | changes
    return evaluation_sections(kind, metrics, predictions, run=run)


def named(sections, title):
    return next((each for each in sections if each.title == title), None)


@pytest.mark.parametrize("kind", MADE)
def test_a_report_begins_with_numbers_and_ends_with_samples(tmp_path, kind):
    sections = sections_of(kind)
    assert isinstance(sections[0], Headline) and isinstance(sections[-1], Gallery)
    lead = sections[0].figures[0]
    assert lead.interval is not None and lead.interval[0] <= lead.interval[1]
    assert len(sections[-1].cards) == len(MADE[kind]())
    root = read(page(tmp_path, *sections))
    assert lead.range in texts(root.all(kind="interval"))


@pytest.mark.parametrize("kind", MADE)
def test_scoring_without_resamples_gives_a_report_without_intervals(tmp_path, kind):
    predictions = MADE[kind]()
    metrics = KINDS[kind].score(predictions, ScoreOptions(resamples=0))
    sections = evaluation_sections(kind, metrics, predictions)
    assert all(each.interval is None for each in sections[0].figures)
    assert read(page(tmp_path, *sections)).all(kind="interval") == []


@pytest.mark.parametrize("kind", MADE)
def test_a_report_of_an_older_files_metrics(tmp_path, kind):
    predictions = MADE[kind]()
    whole = KINDS[kind].score(predictions, ScoreOptions(resamples=0))
    bare = {KINDS[kind].primary: whole[KINDS[kind].primary], "count": whole["count"]}
    sections = evaluation_sections(kind, bare, predictions, run={"name": "x"})
    assert isinstance(sections[-1], Gallery)
    assert page(tmp_path, *sections)


@pytest.mark.parametrize("kind", MADE)
def test_any_single_metric_may_be_missing_or_undefined(kind, monkeypatch):
    monkeypatch.setattr(plots, "_svg", lambda figure: "")  # drawing would take long
    predictions = MADE[kind]()
    whole = KINDS[kind].score(predictions, ScoreOptions(resamples=10))
    for name in whole:
        if name in ("count", KINDS[kind].primary):
            continue
        for metrics in ({k: v for k, v in whole.items() if k != name}, whole | {name: None}):
            assert evaluation_sections(kind, metrics, predictions)


def test_report_of_questions(tmp_path):
    sections = sections_of("vqa", run=RUN)
    root = read(page(tmp_path, *sections))
    assert "33.33 %" in root.text
    by_type = named(sections, "By question type")
    assert by_type.columns == ["", "accuracy", "right", "questions"]  # resampling says nothing
    assert [row[0] for row in by_type.rows] == ["colour", "number"]
    frequency = named(sections, "By how often the answer occurs in training")
    assert [row[0] for row in frequency.rows] == ["unseen", "1-9", "10-99"]
    titles = [each.title for each in named(sections, "Plots").plots]
    assert titles == [
        "Accuracy by question type", "Accuracy by frequency in training", "Reliability",
        "How sure the model was",
    ]  # fmt: skip
    mistakes = named(sections, "Commonest mistakes")
    assert [list(row) for row in mistakes.rows] == [["ba", "hai", 1], ["ba", "(empty)", 1]]
    assert mistakes.language == "vi"
    verdicts = [each.attributes["data-verdict"] for each in root.all("article")]
    assert verdicts == ["wrong", "unparsed", "right"]


def test_the_overlap_with_training_is_stated():
    sections = sections_of("vqa", run=RUN)
    table = named(sections, "Overlap with training")
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["all", "picture not in training"]
    assert [row[-1] for row in table.rows] == [3, 1]
    assert table.note.startswith(
        "1,376 of 2,789 test pictures (49 %) and 66 exact pairs of picture"
    )
    cards = sections[-1].cards
    assert {each.groups["training"] for each in cards} == {
        "not in training", "picture in training", "pair in training"
    }  # fmt: skip
    none = [vqa_prediction("a", "a")]
    assert isinstance(named(sections_of("vqa", none, run=RUN), "Overlap with training"), Note)
    assert named(sections_of("vqa", none), "Overlap with training") is None


def test_baselines_stand_beside_the_model():
    baselines = {
        "commonest_answer": {
            "description": "always the commonest training answer (ba)",
            "accuracy": 0.25, "intervals": {"accuracy": [0.1, 0.5]}, "count": 3,
        },
        "blank_pictures": {"accuracy": 0.125, "anls": 0.5},
    }  # fmt: skip
    sections = sections_of("vqa", baselines=baselines)
    table = named(sections, "Beside blind guessing")
    assert table.columns == ["", "accuracy", "95 %", "ANLS", "what it answers"]
    model, commonest, blank = table.rows
    assert model[:2] == ["this model", pytest.approx(1 / 3)]
    assert commonest[:4] == [
        "commonest answer",
        0.25,
        "10.0 – 50.0",
        None,
    ]
    assert commonest[4] == "always the commonest training answer (ba)"
    assert blank == ["blank pictures", 0.125, "–", 0.5, ""]
    assert named(sections_of("vqa"), "Beside blind guessing") is None


def test_answers_that_are_partly_right_say_so():
    agreeing = ["đỏ"] * 2 + ["hồng"] * 8
    predictions = [vqa_prediction(each, "hồng", answers=agreeing) for each in ("đỏ", "hồng")]
    metrics = KINDS["vqa"].score(predictions, ScoreOptions(metric="vqa", resamples=0))
    sections = evaluation_sections("vqa", metrics, predictions)
    partly, whole = sections[-1].cards
    assert partly.reference == "hồng ×8, đỏ ×2"
    assert partly.facts["right"] == "60%" and "right" not in whole.facts
    assert any(each.label == "Soft accuracy" for each in sections[0].figures)
    assert "VQA challenge" in sections[0].figures[0].note


def test_report_of_parts(tmp_path):
    sections = sections_of("detection")
    root = read(page(tmp_path, *sections))
    titles = [each.title for each in sections]
    for title in ("By label", "By object", "By kind of defect", "By size of the defect"):
        assert title in titles
    curves = named(sections, "Curves")
    assert isinstance(curves, Plots)
    assert "not-defect" in curves.plots[0].svg and curves.plots[1].title == "ROC of pictures"
    labels = named(sections, "Labels")
    assert isinstance(labels, Matrix)
    assert labels.names == ["defect", "not-defect"]
    assert labels.columns == ["defect", "not-defect", "(unread)"]
    assert labels.counts == [[1, 1, 0], [1, 0, 1]]
    assert named(sections, "Objects").columns == ["cap", "(unread)"]
    assert len(root.all("article", kind="unparsed")) == 1


def test_good_parts_alone_have_no_curves():
    sections = sections_of("detection", parts()[3:])
    assert "nothing to draw" in named(sections, "Curves").text


def test_report_of_phrases():
    sections = sections_of("refer")
    assert sections[0].figures[0].label == "Accuracy at IoU 0.5"
    assert sections[0].figures[0].value == "33.33 %"
    gallery = sections[-1]
    assert [each.verdict for each in gallery.cards] == ["wrong", "unparsed", "right"]
    assert gallery.choices() == {"split": {"testA": 2, "testB": 1}}
    by_split = {
        "testA": {"accuracy": 0.0, "correct": 0, "count": 2},
        "testB": {"accuracy": 1.0, "correct": 1, "count": 1},
    }
    table = named(sections_of("refer", by_split=by_split), "By split")
    assert table.columns == ["", "accuracy", "right", "phrases"]


def test_cards_say_what_was_asked_and_answered():
    drawn = detection_card(
        part("cap/cut/0.png", said("cap", "defect", (1, 2, 3, 4)), bbox=BOX, label=0.7), "wrong"
    )
    assert [(each.box, each.true) for each in drawn.boxes] == [(BOX, True), ((1, 2, 3, 4), False)]
    assert drawn.groups == {"object": "cap", "state": "cut"}
    assert drawn.confidence == 0.7
    assert drawn.answer == "cap: defect [1 2 3 4]"
    assert drawn.raw == said("cap", "defect", (1, 2, 3, 4))
    assert drawn.overlap == 0.0 and drawn.facts["IoU"] == "0.00"
    good = detection_card(part("cap/good/0.png", said("cap", "not-defect")), "right")
    assert not good.boxes and good.overlap is None
    alarm = detection_card(part("cap/good/0.png", said("cap", "defect", BOX)), "wrong")
    assert alarm.overlap == 0.0
    assert vqa_card(vqa_prediction("a", "b", question="gì"), "wrong").question == "gì"
    found = refer_card(phrases()[0], "right")
    assert found.overlap == 1.0 and [each.true for each in found.boxes] == [True, False]
    assert found.question == "mèo 0" and found.answer == "10 20 40 50"


def test_a_run_is_described():
    line = describe_run(RUN)
    assert line == "a.pth · test.csv · 3 samples · rank decoding · prompts in original style"
    assert describe_run({"blank": True}) == "pictures blanked · no checkpoint"
    facts = next(each for each in sections_of("vqa", run=RUN) if isinstance(each, Facts)).facts
    assert facts["key of model, data and decoding"] == "abc123"
    assert "0, 1, 2, 3, 4, 5 and 333 more" in facts["decoding"]
    assert facts["pictures blanked"] == "no"
    assert "not shown" not in str(facts)


def test_an_unfinished_run_and_answers_asked_again_are_said():
    sections = sections_of("vqa", run={**RUN, "samples": 5})
    assert named(sections, "Not finished").text.startswith("3 of 5 samples")
    assert named(sections_of("vqa", run=RUN), "Not finished") is None
    counts = {"asked": 4, "rounds": 20, "remaining": 1}
    for kind in MADE:
        figures = {each.label: each for each in sections_of(kind, resampled=counts)[0].figures}
        assert figures["Asked again"].value == "4" and "1 remain" in figures["Asked again"].note


def test_confusion_keeps_what_takes_part_in_mistakes():
    pairs = [("a", "b")] * 3 + [(f"r{i}", f"r{i}") for i in range(40)] * 2
    (matrix,) = confusion(pairs, "Confusion")
    assert matrix.names[0] == "a" and matrix.columns[0] == "b"
    assert matrix.names[-1] == OTHER and len(matrix.names) <= MATRIX_NAMES + 1
    assert sum(map(sum, matrix.counts)) == len(pairs)


def test_objects_are_drawn_with_their_classes():
    sections = sections_of("objects")
    cards = {card.order: card for card in sections[-1].cards}
    assert [(each.box, each.label, each.true) for each in cards[1].boxes] == [
        ((60, 60, 90, 90), "mèo", True),
        ((0, 0, 20, 20), "chó", True),
        (BOX, "mèo", False),
    ]
    assert [cards[i].verdict for i in range(4)] == ["right", "wrong", "right", "wrong"]
    assert cards[2].answer == "none" and cards[2].reference == ""
    assert [row[0] for row in named(sections, "By class").rows] == ["chó", "mèo"]
    assert "chim (1)" in named(sections, "Classes that the data do not have").text
