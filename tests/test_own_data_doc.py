"""What ``docs/own_data.md`` and ``README.md`` show works word for word: files, YAML, commands."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minigpt4.common.config import Config
from minigpt4.common.errors import run_cli

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKLY = [
    "run.max_epoch=1",
    "run.iters_per_epoch=3",
    "run.bootstrap=20",
    "run.feature_cache=memory",
]


def example(number: int) -> str:
    """The text of one worked example."""
    return re.search(rf"## Example {number}:.*?(?=\n## )", DOC, re.DOTALL)[0]


def short_example(name: str) -> str:
    """The same example as the README has it."""
    section = README[README.index("## Your own data") : README.index("## A smaller or another")]
    return next(part for part in section.split("\n**")[1:] if name in part)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def follow(text: str, folder: Path) -> None:
    """Save the YAML under the name that the text gives, and run its commands."""
    name = re.search(r"Save (?:this )?as\s+`(\S+)`", text)[1]
    (config,) = blocks(text, "yaml")
    (folder / name).write_text(config, encoding="utf-8")
    (commands,) = blocks(text, "bash")
    for line in commands.strip().splitlines():
        python, script, *words = shlex.split(line)
        assert python == "python"
        checkpoint = next(folder.glob("out/*/checkpoint_best.pth"), None)
        words = [word.replace("CHECKPOINT", str(checkpoint)) for word in words]
        if "--options" not in words:
            words.append("--options")
        main = importlib.import_module(script.removesuffix(".py")).main
        options = [*QUICKLY, f"run.output_dir={folder / 'out'}", f"run.save_path={folder / 'eval'}"]
        assert run_cli(main, [*words, *options]) == 0, line


def picture(path: Path, seed: int) -> tuple[int, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = np.full((60 + seed, 80, 3), random.integers(0, 256, 3), dtype=np.uint8)
    pixels[10:40, 10:60] = random.integers(0, 256, 3)
    Image.fromarray(pixels).save(path)
    return 80, 60 + seed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "ckpt").symlink_to(ROOT / "ckpt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_csv_of_questions(folder):
    text = example(1)
    (shown,) = blocks(text, "csv")
    heading = next(csv.reader(shown.splitlines()))
    rows = []
    for i in range(30):
        picture(folder / f"data/signs/photos/{i:04d}.jpg", i)
        rows.append([f"{i:04d}.jpg", "biển báo này có màu gì", ["màu đỏ", "màu xanh"][i % 2]])
    with (folder / "data/signs/questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    follow(text, folder)
    saved = json.loads((folder / "eval/signs_metrics.json").read_text("utf-8"))
    assert 1 <= saved["metrics"]["count"] < 15, "only what was held out"
    assert saved["run"]["kind"] == "vqa"
    lines = (folder / "eval/signs_predictions.jsonl").read_text("utf-8").splitlines()
    asked = {json.loads(line)["question"] for line in lines[1:]}
    assert asked == {
        "<Img><ImageHere></Img> [vqa] Hãy nhìn ảnh và trả lời thật ngắn: biển báo này có màu gì "
    }
    assert "<svg" in (folder / "eval/signs_report.html").read_text("utf-8")


def test_coco_boxes(folder):
    categories = [{"id": 3, "name": "bottle"}, {"id": 9, "name": "box"}]
    for split, count in (("train", 12), ("val", 5)):
        images, annotations = [], []
        for i in range(count):
            name = f"{split}{i}.jpg"
            width, height = picture(folder / "data/shelf/images" / name, i)
            images.append({"id": i, "file_name": name, "width": width, "height": height})
            if i % 4 != 3:
                annotations.append(
                    {"id": i, "image_id": i, "category_id": [3, 9][i % 2], "iscrowd": 0,
                     "bbox": [10, 10, 50, 30], "area": 1500}
                )  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = folder / f"data/shelf/{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    follow(example(2), folder)
    saved = json.loads((folder / "eval/shelf_metrics.json").read_text("utf-8"))
    metrics = saved["metrics"]
    assert saved["run"]["kind"] == "objects"
    assert (metrics["count"], metrics["objects"], metrics["empty"]["count"]) == (5, 4, 1)
    assert set(metrics["by_class"]) == {"bottle", "box"}
    assert metrics["map"] is not None and 0.8 < metrics["grid_ceiling"] <= 1
    lines = (folder / "eval/shelf_predictions.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[1])["question"] == (
        "<Img><ImageHere></Img> [detection] find every bottle, box "
    )


@pytest.mark.parametrize(("name", "number"), [("signs", 1), ("shelf", 2)])
def test_the_readme_has_the_same_examples(tmp_path, name, number):
    files = []
    for place, text in (("doc", example(number)), ("readme", short_example(f"`{name}.yaml`"))):
        (config,) = blocks(text, "yaml")
        (tmp_path / place).mkdir()
        files.append(tmp_path / place / f"{name}.yaml")
        files[-1].write_text(config, encoding="utf-8")
        assert blocks(text, "bash") == blocks(example(number), "bash")
    first, second = (
        Config(SimpleNamespace(cfg_path=str(file), options=None)).to_dict() for file in files
    )
    assert first == second


def test_every_key_that_the_tables_name_is_one():
    from minigpt4.common.config_own import HOW_TO_READ, WHERE
    from minigpt4.datasets.readers import READERS
    from minigpt4.datasets.spec import BOX_FORMS

    table = DOC[DOC.index("| key | meaning |") : DOC.index("Boxes without area")]
    keys = {key for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
            for key in re.findall(r"`(\w+)[:`]", row)}  # fmt: skip
    assert keys <= HOW_TO_READ | WHERE and len(keys) >= 12
    readers = DOC[DOC.index("| reader | reads") : DOC.index("Without `reader`")]
    named = {name for row in re.findall(r"^\| (`.*?) \|", readers, re.MULTILINE)
             for name in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert named <= set(READERS) and len(named) >= 10
    assert all(f"`{form}`" in DOC for form in BOX_FORMS if form != "ready")
