"""Checkpoint files: whole or not at all, readable or refused."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.errors import ResourceError, TrainingError, WeightsError
from minigpt4.runners import checkpointing
from minigpt4.runners.checkpointing import (
    Position,
    check_finite,
    duplicate,
    position_of,
    read_checkpoint,
    save_training_state,
)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let every write beyond ``size`` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(value: float, count: int = 10) -> dict[str, Any]:
    return {"model": {"w": torch.full((count,), value)}, "optimizer": {}, "epoch": 3}


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_0.pth"
    save_training_state(path, state(1.0))
    with largest_file(50_000), pytest.raises(ResourceError, match=r"disk is full, so .*_0\.pth"):
        save_training_state(path, state(2.0, count=100_000))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_0.pth"]
    assert load_checkpoint_file(path).model["w"].tolist() == [1.0] * 10


def test_a_full_disk_makes_the_state_go_to_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    real = checkpointing._write
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))

    def write(path: Path, content: dict[str, Any]) -> None:
        if path.parent == tmp_path:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpointing, "_write", write)
    rescued = elsewhere / f"{tmp_path.name}_checkpoint_2.pth"
    try:
        with pytest.raises(ResourceError, match=f"run.resume_ckpt_path={rescued}"):
            save_training_state(tmp_path / "checkpoint_2.pth", state(4.0))
        assert load_checkpoint_file(rescued).model["w"][0] == 4.0
    finally:
        rescued.unlink(missing_ok=True)


def test_a_write_that_fails_for_another_reason_is_not_called_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    with pytest.raises(OSError) as caught:
        save_training_state(folder / "checkpoint_0.pth", state(1.0))
    assert not isinstance(caught.value, ResourceError)


def test_an_interrupt_while_saving_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint_0.pth"
    save_training_state(path, state(1.0))

    def save(content: dict[str, Any], file: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        save_training_state(path, state(2.0))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_0.pth"]
    assert load_checkpoint_file(path).model["w"][0] == 1.0


@pytest.mark.parametrize("links", [True, False])
def test_a_duplicate_stays_when_its_source_is_replaced(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: Any) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source, best = tmp_path / "checkpoint_0.pth", tmp_path / "checkpoint_best.pth"
    best.write_bytes(b"an older one")
    save_training_state(source, state(1.0))
    duplicate(source, best)
    save_training_state(source, state(2.0))
    assert load_checkpoint_file(best).model["w"][0] == 1.0


def test_where_to_go_on_survives_saving(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_interrupted.pth"
    position = Position(epoch=3, step=17, best={"epoch": 1, "score": [0.5]}, meter=[1.0, 2.0])
    meta = position.meta(git=None, rng=[{"torch": torch.get_rng_state()}])
    save_training_state(path, {**state(1.0), "epoch": 2, "meta": meta})
    found = position_of(read_checkpoint(path))
    assert (found.epoch, found.step, found.best, found.meter) == (3, 17, position.best, [1.0, 2.0])
    assert torch.equal(found.rng[0]["torch"], torch.get_rng_state())


def test_a_checkpoint_without_meta_goes_on_at_the_next_epoch() -> None:
    assert position_of({"epoch": 1}) == Position(epoch=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no checkpoint"),
        (b"PK\x03\x04 cut short", "broken or incomplete"),
        ({"model": {"w": torch.ones(2)}}, "no optimizer and no epoch.*use model.ckpt"),
    ],
)
def test_what_cannot_be_resumed_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def test_weights_that_are_not_finite_are_named() -> None:
    check_finite({"fine": torch.ones(2), "counts": torch.ones(1, dtype=torch.long)})
    with pytest.raises(TrainingError, match=r"llama_proj\.bias"):
        check_finite({"llama_proj.bias": torch.tensor([1.0, float("nan")])})
