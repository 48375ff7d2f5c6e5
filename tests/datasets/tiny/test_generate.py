"""The embedded data as files: forms, balance, apartness of train and test, idempotence."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from minigpt4.common.boxes import parse_boxes
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.tiny import generate as module
from minigpt4.datasets.tiny import hands
from minigpt4.datasets.tiny.generate import generate

SCALE = 0.05
YES_NO = {"có", "không"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    generate(out, scale=SCALE)
    return out


def rows_of(data: Path, split: str) -> list[dict[str, str]]:
    with (data / "vivqa" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def entries_of(data: Path, path: str) -> list[dict[str, Any]]:
    return json.loads((data / path).read_text(encoding="utf-8"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_vivqa_has_the_columns_and_pictures_of_the_real_thing(data: Path) -> None:
    for split in ("train", "test"):
        rows = rows_of(data, split)
        assert list(rows[0]) == ["", "question", "answer", "img_id", "type", "source"]
        assert [int(row[""]) for row in rows] == list(range(len(rows)))
        for row in rows:
            assert (data / "vivqa/images" / f"{int(row['img_id']):012d}.jpg").is_file()
            assert row["question"] == row["question"].lower().strip()
            assert not re.search(r"[?{}a-z]*(the|shape|color)\b|[?{}]", row["question"])
            assert row["answer"]
        assert {row["type"] for row in rows} == {"0", "1", "2", "3"}


def test_train_and_test_share_no_picture(data: Path) -> None:
    ids = [{row["img_id"] for row in rows_of(data, split)} for split in ("train", "test")]
    assert not ids[0] & ids[1]
    images = data / "vivqa/images"
    hashes = [{digest(images / f"{int(i):012d}.jpg") for i in group} for group in ids]
    assert len(hashes[0]) == len(ids[0]) and not hashes[0] & hashes[1]


def test_yes_no_is_a_minority_and_evenly_answered(data: Path) -> None:
    for split in ("train", "test"):
        for source in ("easy_vqa", "scene"):
            answers = [r["answer"] for r in rows_of(data, split) if r["source"] == source]
            assert sum(a in YES_NO for a in answers) <= 0.2 * len(answers)
        counts = Counter(r["answer"] for r in rows_of(data, split) if r["answer"] in YES_NO)
        assert counts["có"] == counts["không"] > 0


def test_guessing_from_the_question_scores_low(data: Path) -> None:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows_of(data, "train"):
        seen[row["question"]][row["answer"]] += 1
    test = rows_of(data, "test")
    hits = [
        bool(seen[row["question"]]) and seen[row["question"]].most_common(1)[0][0] == row["answer"]
        for row in test
    ]
    assert sum(hits) / len(test) <= 0.33


def test_mvtec_entries_follow_the_contract(data: Path) -> None:
    root = data / "mvtec"
    for split, file in (("train", "train_data.json"), ("test", "val_data.json")):
        entries = entries_of(data, f"mvtec/{file}")
        assert len({e["image_path"] for e in entries}) == len(entries)
        assert len({e["class"] for e in entries}) >= 5
        assert len({e["defect"] for e in entries if e["is_broken"]}) >= 3
        for e in entries:
            x1, y1, x2, y2 = e["bbox"]
            assert e["image_path"].startswith(f"{e['class']}/{split}/{e['defect']}/")
            assert (root / e["image_path"]).is_file()
            assert e["is_broken"] == (e["defect"] != "good")
            if e["is_broken"]:
                assert all(isinstance(v, int) for v in e["bbox"])
                assert 0 <= x1 <= x2 - 8 and x2 <= 100 and 0 <= y1 <= y2 - 8 and y2 <= 100
                assert max(x2 - x1, y2 - y1) <= 65
            else:
                assert e["bbox"] == [0, 0, 100, 100]
        share = sum(e["is_broken"] for e in entries) / len(entries)
        assert 0.4 <= share <= 0.6


def test_corpus_is_whole_and_bilingual(data: Path) -> None:
    images = {path.name for path in (data / "pretrain/images").iterdir()}
    for file, key in (("captions", "caption"), ("grounded", "grounded_caption")):
        entries = entries_of(data, f"pretrain/{file}.json")
        assert all(set(e) == {"image", key} and e[key].strip() == e[key] for e in entries)
        assert {e["image"] for e in entries} == images
        texts = " ".join(e[key] for e in entries)
        assert "màu" in texts and " the " in texts
    for e in entries_of(data, "pretrain/grounded.json"):
        parsed = parse_boxes(e["grounded_caption"])
        assert parsed and all(p.phrase and p.boxes and not p.rejected for p in parsed)
    for e in entries_of(data, "pretrain/refer.json"):
        x1, y1, x2, y2 = e["bbox"]
        assert e["image"] in images and e["phrase"]
        assert 0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 100
    for e in entries_of(data, "pretrain/text.json"):
        assert set(e) == {"instruction", "output"} and e["instruction"] and e["output"]


def test_corpus_has_neither_task_in_it(data: Path) -> None:
    questions = {r["question"] for split in ("train", "test") for r in rows_of(data, split)}
    answers = {r["answer"] for split in ("train", "test") for r in rows_of(data, split)}
    for e in entries_of(data, "pretrain/captions.json"):
        assert e["caption"] not in answers
    instructions = {e["instruction"] for e in entries_of(data, "pretrain/text.json")}
    assert not instructions & questions
    for file in ("captions", "grounded", "refer", "text"):
        text = (data / f"pretrain/{file}.json").read_text(encoding="utf-8")
        assert "[vqa]" not in text and "[detection]" not in text and "defect" not in text


def test_corpus_pictures_are_not_those_of_the_tasks(data: Path) -> None:
    corpus = {digest(p) for p in (data / "pretrain/images").iterdir()}
    tasks = [*(data / "vivqa/images").iterdir(), *(data / "mvtec").rglob("*.jpg")]
    assert not corpus & {digest(p) for p in tasks}


def test_second_call_changes_nothing_and_other_settings_remake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = generate(tmp_path, scale=0.01, parts=("mvtec",))
    mark = tmp_path / "mvtec" / "mark"
    mark.touch()
    assert generate(tmp_path, scale=0.01, parts=("mvtec",)) == first and mark.exists()
    before = digest(tmp_path / "mvtec/train_data.json")
    generate(tmp_path, seed=1, scale=0.01, parts=("mvtec",))
    assert not mark.exists() and digest(tmp_path / "mvtec/train_data.json") != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mvtec"]


def test_same_seed_gives_same_bytes(data: Path, tmp_path: Path) -> None:
    generate(tmp_path, scale=SCALE, parts=("mvtec",))
    for path in sorted((tmp_path / "mvtec").rglob("*.*"))[::7]:
        assert digest(path) == digest(data / path.relative_to(tmp_path))


def test_failure_leaves_the_old_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(tmp_path, scale=0.01, parts=("mvtec",))

    def breaks(folder: Path, **_: object) -> dict[str, int]:
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setitem(module.PARTS, "mvtec", breaks)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path, seed=5, scale=0.01, parts=("mvtec",))
    assert (tmp_path / "mvtec/val_data.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["mvtec"]


def test_a_users_own_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "vivqa").mkdir()
    (tmp_path / "vivqa" / "mine.csv").touch()
    with pytest.raises(DataError, match="vivqa"):
        generate(tmp_path, scale=0.01, parts=("vivqa",))
    assert (tmp_path / "vivqa" / "mine.csv").exists()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mvtek"):
        generate(tmp_path, parts=("mvtek",))
    with pytest.raises(ConfigError, match="scale"):
        generate(tmp_path, scale=0)


def test_pictures_have_the_documented_sizes(data: Path) -> None:
    sizes = set()
    for row in rows_of(data, "test"):
        with Image.open(data / "vivqa/images" / f"{int(row['img_id']):012d}.jpg") as image:
            sizes.add((row["source"], image.size))
    assert sizes == {("easy_vqa", (64, 64)), ("scene", (192, 192))}


def test_several_processes_make_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "_FEW", 8)
    for name, count in (("one", 1), ("three", 3)):
        (tmp_path / name).mkdir()
        with hands.Hands(count) as some:
            for part, write in module.PARTS.items():
                (tmp_path / name / part).mkdir()
                write(tmp_path / name / part, seed=0, scale=0.01, hands=some)
            assert (some._pool is not None) == (count > 1)
    one = {p.relative_to(tmp_path / "one"): p for p in (tmp_path / "one").rglob("*.*")}
    three = {p.relative_to(tmp_path / "three"): p for p in (tmp_path / "three").rglob("*.*")}
    assert len(one) > 100
    assert one.keys() == three.keys()
    assert all(one[name].read_bytes() == three[name].read_bytes() for name in one)


def test_a_mistake_in_another_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hands, "_FEW", 1)
    with hands.Hands(2) as some, pytest.raises(ValueError, match="invalid literal"):
        some.map(int, ["1", "2", "x"], desc="")
