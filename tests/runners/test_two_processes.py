"""Two processes on the CPU against one with batches twice as large."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_run import make_runner, toy_data

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.runners.records import read_records

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", str(HERE / "two_processes.py"), str(folder)]  # fmt: skip
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, errors = process.communicate(timeout=300)
    finally:
        process.terminate()  # a launcher that is killed would leave its processes behind
    assert process.returncode == 0, errors[-3000:]
    return folder


def test_they_train_as_one_with_the_whole_batch(folder: Path, tmp_path: Path) -> None:
    data = toy_data(batch_size=8, valid=True)
    single = make_runner(tmp_path, data=data, dropout=0.0, max_grad_norm=0.5)
    single.train()
    shared = load_checkpoint_file(folder / "plain" / "checkpoint_1.pth").model
    for name, value in single.model.trainable_state_dict().items():
        torch.testing.assert_close(shared[name], value, rtol=1e-4, atol=1e-6)
    losses = [
        [r["loss"] for r in read_records(log) if r["kind"] in ("train", "valid")]
        for log in (folder / "plain" / "log.txt", tmp_path / "log.txt")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_all_stop_when_one_is_interrupted_and_go_on_exactly(folder: Path) -> None:
    stopped = load_checkpoint_file(folder / "stopped" / "checkpoint_interrupted.pth").extra
    assert (stopped["epoch"], stopped["meta"]["step"]) == (-1, 4)
    whole = load_checkpoint_file(folder / "whole" / "checkpoint_1.pth").model
    resumed = load_checkpoint_file(folder / "resumed" / "checkpoint_1.pth").model
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
