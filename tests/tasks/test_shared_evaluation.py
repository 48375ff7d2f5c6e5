"""An evaluation shared out among two processes against one alone, with a real, tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scripted import write_mvtec, write_vivqa

sys.path.append(str(Path(__file__).parents[2]))
import evaluate
from minigpt4.tasks import rounds

HERE = Path(__file__).parent
PARITY = HERE.parent / "fixtures" / "parity"
QUESTIONS = [(f"có {'mấy ' * (i % 3)}con mèo", "hai", i, i % 4) for i in range(5)]
PARTS = [(f"cap/cut/{i}.png", (1, 2, 30, 40)) for i in range(3)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    vivqa = write_vivqa(folder / "ViVQA", QUESTIONS)
    mvtec = write_mvtec(folder / "MVTEC_det", PARTS)
    content = {
        "model": {
            "arch": "minigpt_v2",
            "image_size": 112,
            "vit_weights": "random",
            "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
            "llama_model": str(PARITY / "tiny_llama_vi1000"),
            "ckpt": str(PARITY / "original_checkpoint_1.pth"),
            "lora_r": 8,
            "end_sym": "</s>",
            "max_txt_len": 500,
        },
        "evaluation_datasets": {
            "vivqa": {"eval_file_path": str(vivqa), "batch_size": 1, "max_new_tokens": 6},
            "mvtec_ad": {"eval_file_path": str(mvtec), "batch_size": 2, "max_new_tokens": 4},
        },
        "run": {"save_path": str(folder / "one"), "device": "cpu", "bootstrap": 10},
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(config: Path) -> Path:
    """The configuration's folder, evaluated by one process and by two."""
    folder = config.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "RESAMPLE_ROUNDS", 3)
        evaluate.main(["--cfg-path", str(config), "--resample"])
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [str(HERE / "shared_evaluation.py"), str(config), str(folder)]
    command = [sys.executable, "-m", *launcher, *script]
    paths = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.terminate()  # a launcher that is killed would leave its processes behind
    assert process.returncode == 0, errors[-3000:]
    (folder / "stdout").write_text(out, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["vivqa", "mvtec_ad"])
def test_two_give_the_same_as_one(folder: Path, name: str) -> None:
    one, two = ((folder / each / f"{name}_predictions.jsonl") for each in ("one", "two"))
    ours, theirs = (path.read_text("utf-8").splitlines() for path in (one, two))
    assert theirs[1:] == ours[1:]
    assert len({json.loads(row)["id"] for row in ours[1:]}) == len(
        QUESTIONS if name == "vivqa" else PARTS
    )
    metrics = [
        json.loads((folder / each / f"{name}_metrics.json").read_text("utf-8"))
        for each in ("one", "two")
    ]
    for each in metrics:
        each["run"].pop("time")
    assert metrics[0] == metrics[1]


def test_resampled_answers_are_the_same_too(folder: Path) -> None:
    rows = (folder / "two" / "mvtec_ad_predictions.jsonl").read_text("utf-8").splitlines()[1:]
    assert max(json.loads(row)["tries"] for row in rows) == 3  # this model never answers right


def test_one_process_reports_and_parts_are_gone(folder: Path) -> None:
    lines = (folder / "stdout").read_text("utf-8").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["vivqa", "mvtec_ad"]
    assert not list((folder / "two").glob("*part*"))


def test_a_mistake_in_one_process_stops_all_and_is_said_once(folder: Path) -> None:
    said = [(folder / f"said{rank}").read_text("utf-8") for rank in (0, 1)]
    assert said == ["broken in process 1 only; 0", "nothing; 0"]
