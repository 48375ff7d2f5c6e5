"""Runs against each other: hand-made files, known differences."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from scripted import part, picture, said

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.reports.compare_text import p_text
from minigpt4.scoring.comparison import compare_pair, mcnemar, score_run
from minigpt4.scoring.intervals import Bootstrap
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.compare import compare, render_text

TRUE = ["màu đỏ", "hai", "mèo", "bãi biển", "màu xanh lá", "ba"]


def asked(answers, *, references=TRUE, **meta):
    return [
        Prediction(
            id=f"{i}-{i // 2}", answer=answer, finished=True, probability=0.5, reference=true,
            picture=f"{i // 2:012d}.jpg", question=f"câu hỏi {i}",
            meta={"question": f"câu hỏi {i}", "answer": true, "type": str(i % 3), **meta},
        )
        for i, (answer, true) in enumerate(zip(answers, references, strict=True))
    ]  # fmt: skip


def write(folder, predictions, *, name="vivqa", **run):
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "name": name, "kind": "vqa", "data_key": "k", "eval_file": f"{name}/test.csv",
        "samples": len(predictions), "ckpt": f"{folder.name}.pth",
        "score_options": {"score": "confidence", "metric": None, "resamples": 200, "seed": 0},
        **run,
    }  # fmt: skip
    rows = [{"run": header}, *map(dataclasses.asdict, predictions)]
    path = folder / f"{name}_predictions.jsonl"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return path


@pytest.fixture
def runs(tmp_path):
    """Two right of six, then five: four fixed, one broken, none wrong in both."""
    before = ["Màu Đỏ", "hai", "chó", "nhà", "màu vàng", "một"]
    after = ["màu đỏ", "bốn", *TRUE[2:]]
    return [write(tmp_path / "trước", asked(before)), write(tmp_path / "sau", asked(after))]


def test_what_changed_and_by_how_much(runs):
    (found,) = compare(runs).parts
    assert [run.name for run in found.runs] == ["trước", "sau"]
    assert [run.figures["accuracy"] for run in found.runs] == pytest.approx([2 / 6, 5 / 6])
    (pair,) = found.pairs
    assert pair.changes == ["both right", "broken", "fixed", "fixed", "fixed", "fixed"]
    assert pair.counts == {"fixed": 4, "broken": 1, "both wrong": 0, "both right": 1}
    assert pair.differences["accuracy"].value == pytest.approx(0.5)
    assert pair.p_value == pytest.approx(2 * (5 + 1) / 2**5)
    assert (found.samples, found.pictures) == (6, 3)


def test_identical_runs_do_not_differ(runs, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    comparison = compare([runs[0], shutil.copy(runs[0], copy)])
    (pair,) = comparison.parts[0].pairs
    assert pair.p_value == 1.0
    assert pair.counts["fixed"] == pair.counts["broken"] == 0
    assert all(each.value == 0 for each in pair.differences.values())
    assert pair.differences["accuracy"].interval is None
    text = render_text(comparison)
    assert "p = 1" in text
    assert "better" not in text
    assert "+0.00" in text


@pytest.mark.parametrize(
    ("fixed", "broken"), [(0, 0), (1, 0), (5, 5), (4, 1), (10, 2), (0, 12), (30, 18)]
)
def test_mcnemar_is_a_fair_coin(fixed, broken):
    count = fixed + broken
    tail = sum(math.comb(count, k) for k in range(max(fixed, broken), count + 1)) / 2**count
    assert mcnemar(fixed=fixed, broken=broken) == pytest.approx(min(1.0, 2 * tail))


def test_paired_intervals_are_those_of_the_differences():
    rng = np.random.default_rng(0)
    true = ["hai"] * 60
    first, other = (
        ["hai" if right else "ba" for right in rng.random(60) < share] for share in (0.4, 0.7)
    )
    options = ScoreOptions(resamples=300)
    scored = [
        score_run(asked(answers, references=true), kind=get_kind("vqa"), options=options, name=name)
        for name, answers in (("a", first), ("b", other))
    ]
    pair = compare_pair(*scored)
    steps = [(b == "hai") - (a == "hai") for a, b in zip(first, other, strict=True)]
    pictures = [each.picture for each in scored[0].predictions]
    expected = Bootstrap(pictures, resamples=300).mean(steps)
    assert pair.differences["accuracy"].interval == pytest.approx(expected)
    # A run's own interval is the one that scoring gives.
    alone = get_kind("vqa").score(scored[1].predictions, options)["intervals"]["accuracy"]
    assert scored[1].interval("accuracy") == pytest.approx(alone)


def test_runs_out_of_order_hold_different_samples():
    options, kind = ScoreOptions(resamples=0), get_kind("vqa")
    a, b = (
        score_run(each, kind=kind, options=options, name="") for each in (asked(TRUE), asked(TRUE))
    )
    with pytest.raises(ValueError, match="same samples"):
        compare_pair(a, dataclasses.replace(b, predictions=b.predictions[::-1]))


def test_the_order_of_a_file_does_not_matter(runs, tmp_path):
    shuffled = write(tmp_path / "lẫn", asked(["màu đỏ", "bốn", *TRUE[2:]])[::-1])
    _, pair = compare([*runs, shuffled]).parts[0].pairs
    assert pair.changes == ["both right", "broken", "fixed", "fixed", "fixed", "fixed"]


BOX, NEAR, FAR = (10, 10, 50, 50), (14, 10, 54, 50), (60, 60, 90, 90)


def parts_of(box, labels):
    truth = {f"cap/cut/{i}.png": BOX for i in range(4)} | {
        f"cap/good/{i}.png": None for i in range(4)
    }
    return [
        dataclasses.replace(
            part(
                path, said("cap", label, box if label == "defect" else (0, 0, 100, 100)), bbox=true
            ),
            picture=path,
        )
        for (path, true), label in zip(truth.items(), labels, strict=True)
    ]


def test_detections_are_compared_by_their_boxes(tmp_path):
    labels = ["defect"] * 4 + ["not-defect"] * 4
    shared = {"name": "mvtec_ad", "kind": "detection"}
    far = write(tmp_path / "far", parts_of(FAR, labels), **shared)
    near = write(tmp_path / "near", parts_of(NEAR, labels), **shared)
    exact = write(tmp_path / "exact", parts_of(BOX, labels), **shared)
    (found,) = compare([far, near, exact]).parts
    assert [run.figures["ap_defect"] for run in found.runs] == pytest.approx([0, 0.7, 1], abs=0.01)
    assert [pair.counts["fixed"] for pair in found.pairs] == [4, 4]
    for pair, value in zip(found.pairs, (0.7, 1.0), strict=True):
        difference = pair.differences["ap_defect"]
        assert difference.value == pytest.approx(value, abs=0.01)
        # All defects of a run are found equally well, so resampling says nothing.
        assert difference.interval is None
    assert found.pairs[1].differences["auroc"].value == 0
    assert "mAP" in render_text(compare([far, near, exact]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_key": "other"}, "their annotations differ"),
        ({"kind": "refer"}, "one is an evaluation of kind vqa, the other of kind refer"),
    ],
)
def test_runs_on_different_data_are_refused(runs, tmp_path, change, message):
    other = write(tmp_path / "khác", asked(TRUE), **change)
    with pytest.raises(DataError, match=message) as error:
        compare([runs[0], other])
    assert str(other) in str(error.value)
    assert str(error.value).count(". ") == 0


def test_different_samples_or_truths_are_refused_without_keys(runs, tmp_path):
    old = {"data_key": None}
    first = write(tmp_path / "a", asked(TRUE), **old)
    fewer = write(tmp_path / "b", asked(TRUE)[:4], **old)
    with pytest.raises(DataError, match=r"b lacks 2 of 6 samples, such as 4-2, 5-2"):
        compare([first, fewer])
    with pytest.raises(DataError, match=r"b lacks 2 of 6 samples"):
        compare([fewer, first])
    changed = write(tmp_path / "c", asked(TRUE, references=["tím", *TRUE[1:]]), **old)
    with pytest.raises(DataError, match=r"the true answer of 1 of 6 samples differ.* 0-0"):
        compare([first, changed])
    reworded = write(tmp_path / "d", asked(TRUE, index="7"), **old)
    with pytest.raises(DataError, match="the annotations of 6 of 6 samples differ"):
        compare([first, reworded])


def test_an_unfinished_run_is_refused(runs, tmp_path):
    torn = write(tmp_path / "torn", asked(TRUE)[:5], samples=6)
    with pytest.raises(DataError, match=r"torn.* holds answers to 5 of 6 samples: finish"):
        compare([runs[0], torn])


def test_a_comparison_takes_two_different_runs(runs):
    with pytest.raises(ConfigError, match="two runs or more"):
        compare(runs[:1])
    with pytest.raises(ConfigError, match="named twice"):
        compare([runs[0], runs[0].parent / "." / runs[0].name])


def test_folders_are_compared_on_all_that_they_share(tmp_path, caplog):
    for name in ("pretrained", "finetuned"):
        write(tmp_path / name, asked(TRUE))
        write(tmp_path / name, asked(TRUE), name="okvqa")
    write(tmp_path / "finetuned", asked(TRUE), name="gqa")
    comparison = compare([tmp_path / "pretrained", tmp_path / "finetuned"])
    assert [each.name for each in comparison.parts] == ["okvqa", "vivqa"]
    assert "Not compared" in caplog.text
    assert "gqa_predictions.jsonl" in caplog.text
    assert "okvqa: accuracy" in render_text(comparison).splitlines()[0]


def test_folders_with_nothing_in_common_are_refused(tmp_path):
    write(tmp_path / "a", asked(TRUE))
    write(tmp_path / "b", asked(TRUE), name="gqa")
    with pytest.raises(DataError, match=r"a has vivqa; .*b has gqa"):
        compare([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="holds no file of predictions"):
        compare([tmp_path / "a", tmp_path / "c"])
    for missing in ("nowhere", "nowhere.jsonl"):
        with pytest.raises(DataError, match=f"There is no file .*{missing}"):
            compare([tmp_path / "a", tmp_path / missing])


def test_runs_of_one_folder_are_told_apart_by_their_checkpoints(tmp_path):
    paths = [tmp_path / f"{name}.jsonl" for name in "ab"]
    for path in paths:
        folder = tmp_path / path.stem
        shutil.move(write(folder, asked(TRUE), ckpt=f"runs/checkpoint_{path.stem}.pth"), path)
    assert [r.name for r in compare(paths).parts[0].runs] == ["checkpoint_a", "checkpoint_b"]


def test_all_are_scored_as_the_first_and_it_says_so(runs, tmp_path):
    other = {"score": "constant", "metric": None, "resamples": 50, "seed": 0}
    path = write(tmp_path / "khác", asked(TRUE), score_options=other, blank=True)
    (found,) = compare([runs[0], path]).parts
    assert found.options.resamples == 200
    assert "khác saw every picture blanked." in found.notes
    assert any("resamples 50, score constant" in note for note in found.notes)


def test_a_run_that_does_not_say_how_it_was_scored_is_scored_as_the_others(runs, tmp_path):
    old = write(tmp_path / "cũ", asked(TRUE), score_options=None)
    (found,) = compare([old, runs[0]]).parts
    assert found.options.resamples == 200
    assert not found.notes


def test_a_file_without_probabilities_of_boxes_is_pointed_out(tmp_path):
    shared = {"name": "mvtec_ad", "kind": "detection"}
    made = parts_of(BOX, ["defect"] * 8)
    old = write(tmp_path / "old", made, **shared)
    (found,) = compare([old, write(tmp_path / "older", made, **shared)]).parts
    assert not found.notes
    scored = [
        dataclasses.replace(each, probabilities={"label": 0.9, "box_0": 0.5}) for each in made
    ]
    (found,) = compare([old, write(tmp_path / "new", scored, **shared)]).parts
    assert [note.split()[0] for note in found.notes] == ["old"]
    assert "no probabilities of boxes" in found.notes[0]


def test_older_files_and_blanked_runs_name_no_pictures(runs, tmp_path):
    nameless = [
        dataclasses.replace(each, picture="", image_path=f"ảnh/{each.picture}")
        for each in asked(TRUE)
    ]
    old = write(tmp_path / "old", nameless)
    blank = [dataclasses.replace(each, picture="", image_path=None) for each in asked(TRUE)]
    (found,) = compare([write(tmp_path / "blank", blank), old]).parts
    assert found.pictures == 3


def test_what_training_holds_counts_for_all_runs(runs, tmp_path):
    counts = {"pictures": 3, "pictures_in_training": 1, "pairs": 0}
    known = asked(TRUE)
    for each in known:
        each.meta |= {"overlap": "picture" if each.picture.endswith("0.jpg") else ""}
    path = write(tmp_path / "known", known, overlap=counts)
    (found,) = compare([runs[0], path]).parts
    assert found.runs[0].figures["no_overlap"] == 0  # both right answers are about picture 0
    assert found.runs[1].figures["no_overlap"] == 1
    assert "1 of 3 test pictures (33 %) and 0 exact" in " ".join(found.notes)
    assert "accuracy on pictures not in training" in render_text(compare([runs[0], path]))


def test_files_in_three_forms(runs, tmp_path):
    picture(1).save(tmp_path / "000.jpg")
    shown = [
        dataclasses.replace(each, image_path=str(tmp_path / "000.jpg"))
        for each in asked(["<b>|tím*", *TRUE[1:]])
    ]
    comparison = compare([runs[0], write(tmp_path / "đẹp", shown)], out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "compare.md", "compare.json", "compare.html",
    }  # fmt: skip
    text = render_text(comparison)
    markdown, page = (comparison.files[each].read_text("utf-8") for each in ("markdown", "report"))
    for each in (text, markdown, page):
        assert "trước" in each
        assert "đẹp" in each
        assert "McNemar" in each
        assert "33.33" in each
    assert "| fixed | câu hỏi 2 | mèo | chó | mèo |" in markdown
    assert "\\<b\\>\\|tím\\*" in markdown
    assert "&lt;b&gt;|tím*" in page
    assert "<b>|tím" not in page
    assert "màu xanh lá" in page
    assert page.count("data:image/jpeg") >= 1
    (saved,) = json.loads(comparison.files["json"].read_text("utf-8"))
    assert saved["differences"][0]["changes"] == {
        "fixed": 4, "broken": 1, "both wrong": 0, "both right": 1,
    }  # fmt: skip
    ids = [each["id"] for each in saved["samples_not_always_right"]]
    assert ids == ["0-0", "2-1", "3-1", "4-2", "5-2"]
    assert saved["samples_not_always_right"][1]["answers"] == {"trước": "chó", "đẹp": "mèo"}
    assert "màu xanh lá" in comparison.files["json"].read_text("utf-8")


def test_boxes_of_every_run_are_drawn_with_its_name(tmp_path):
    labels = ["defect"] * 4 + ["not-defect"] * 4
    shared = {"name": "mvtec_ad", "kind": "detection"}
    picture(2).save(tmp_path / "000.png")
    paths = []
    for name, box in (("xa", FAR), ("gần", NEAR)):
        made = [
            dataclasses.replace(each, image_path=str(tmp_path / "000.png"))
            for each in parts_of(box, labels)
        ]
        paths.append(write(tmp_path / name, made, **shared))
    page = compare(paths, out=tmp_path / "out").files["report"].read_text("utf-8")
    assert page.count(">xa</span>") == page.count(">gần</span>") == 4
    assert page.count(">true</span>") == 4
    assert "left:60%;top:60%;width:30%;height:30%" in page


def test_small_p_values_are_not_written_as_nothing():
    assert [p_text(each) for each in (1.0, 0.0433, 0.00099, 1e-300)] == [
        "p = 1", "p = 0.0433", "p < 0.001", "p < 0.001",
    ]  # fmt: skip
