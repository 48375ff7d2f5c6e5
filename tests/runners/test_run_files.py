"""What a run writes beside its checkpoints: folder, records, curves, random states."""

from __future__ import annotations

import json
import random
import shutil
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import minigpt4
from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.common.settings import RunSettings
from minigpt4.runners.checkpointing import Position, save_training_state
from minigpt4.runners.curves import plot_curves
from minigpt4.runners.records import RunRecords, check_log_packages, read_records
from minigpt4.runners.resume import take_over, warn_of_differences
from minigpt4.runners.rng import preserved_rng, rng_state, seed_everything, set_rng_state
from minigpt4.runners.run_folder import (
    check_disk_space,
    create_run_folder,
    output_root,
    write_run_files,
)

NOW = datetime(2026, 3, 4, 15, 6)


def test_runs_of_one_minute_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = [create_run_folder(str(tmp_path / "out"), now=NOW) for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)
    assert all(folder.name.startswith("202603041506") for folder in folders)


def test_a_relative_output_folder_is_below_the_package() -> None:
    package = Path(minigpt4.__file__).parent
    assert output_root("vivqa_outputs") == package / "vivqa_outputs"
    assert output_root("/somewhere/else") == Path("/somewhere/else")


def test_an_output_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file/out cannot be written.*run.output_dir"):
        create_run_folder(str(tmp_path / "file" / "out"))


def test_a_run_whose_checkpoints_do_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000))
    check_disk_space(tmp_path, checkpoint_bytes=1_000_000, checkpoints=2)
    with pytest.raises(ResourceError, match=r"3 checkpoints need about 4 MB, but only 3 MB"):
        check_disk_space(tmp_path, checkpoint_bytes=1_000_000, checkpoints=3)


def test_configuration_and_environment_stand_beside_the_checkpoints(tmp_path: Path) -> None:
    config = {"run": {"init_lr": 0.1}, "datasets": {"vivqa": {"prompt": "màu gì"}}}
    write_run_files(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8")) == config
    environment = json.loads((tmp_path / "environment.json").read_text("utf-8"))
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert {"version", "git", "command", "python"} <= environment.keys()


def test_records_are_one_object_a_line_and_go_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    records = RunRecords(tmp_path, RunSettings(tensorboard_log=True), {})
    records.write("train", epoch=0, step=5, loss=1.5, note="màu đỏ")
    records.close()
    line = (tmp_path / "log.txt").read_text("utf-8")
    assert json.loads(line) == {"kind": "train", "epoch": 0, "step": 5, "loss": 1.5,
                                "note": "màu đỏ"}  # fmt: skip
    assert "màu đỏ" in line
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(5, 1.5)]


@pytest.mark.parametrize(
    ("setting", "module", "package"),
    [
        ("wandb_log", "wandb", "wandb"),
        ("tensorboard_log", "torch.utils.tensorboard", "tensorboard"),
    ],
)
def test_a_missing_log_package_is_named_with_both_remedies(
    setting: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_log_packages(RunSettings())
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"pip install {package}, or set run.{setting}=False"):
        check_log_packages(RunSettings(**{setting: True}))


def test_curves_replace_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    path.write_bytes(b"an older one")
    records = [{"kind": "train", "step": s, "loss": 1 / s, "lr": 0.1} for s in range(1, 9)]
    plot_curves([*records, {"kind": "valid", "step": 8, "loss": 0.4}], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["loss.png"]


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_random_states_go_through_a_file_without_pickle(tmp_path: Path) -> None:
    seed_everything(5)
    random.gauss(0, 1)
    np.random.randn()  # both keep a second number in store
    torch.save(rng_state(), tmp_path / "rng")
    expected = draws(), random.gauss(0, 1), np.random.randn()
    seed_everything(6)
    set_rng_state(torch.load(tmp_path / "rng", weights_only=True))
    assert (draws(), random.gauss(0, 1), np.random.randn()) == expected


def test_ranks_draw_differently_and_preserved_stretches_change_nothing() -> None:
    seed_everything(5, rank=1)
    other = draws()
    seed_everything(5)
    with preserved_rng():
        first = draws()
    assert draws() == first != other


def test_a_resumed_run_takes_over_log_and_best_checkpoint(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    lines = [{"kind": "train", "step": step} for step in (5, 10, 15, 20)]
    (old / "log.txt").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for epoch in range(2):
        content = {"model": {"w": torch.tensor([float(epoch)])}, "epoch": epoch}
        save_training_state(old / f"checkpoint_{epoch}.pth", content)
    position = Position(epoch=1, step=5, best={"epoch": 0, "score": [1.0]})
    take_over(old / "checkpoint_interrupted.pth", new, position, iters_per_epoch=10)
    assert [r["step"] for r in read_records(new / "log.txt")] == [5, 10, 15]
    best = torch.load(new / "checkpoint_best.pth", weights_only=True)
    assert best["epoch"] == 0


def test_changed_settings_of_a_resumed_run_are_told(caplog: pytest.LogCaptureFixture) -> None:
    config = {"run": {"init_lr": 0.1, "num_workers": 2}, "model": {"lora_r": 8}}
    checkpoint = {"meta": {}, "config": config}
    warn_of_differences(checkpoint, {"run": {"init_lr": 0.1, "num_workers": 0},
                                     "model": {"lora_r": 8}})  # fmt: skip
    assert not caplog.text
    warn_of_differences(checkpoint, {"run": {"init_lr": 0.2}, "model": {"lora_r": 8}})
    assert "run.init_lr 0.1 -> 0.2" in caplog.text
