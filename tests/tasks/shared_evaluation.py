"""Run under torchrun by ``test_shared_evaluation``: ``shared_evaluation.py CONFIG FOLDER``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch.distributed as dist

import evaluate
from minigpt4.common.errors import DataError
from minigpt4.tasks import processes, rounds

processes._GRACE = 0.0
rounds.RESAMPLE_ROUNDS = 3


def main(config: str, folder: Path) -> None:
    save = f"run.save_path={folder / 'two'}"
    evaluate.main(["--cfg-path", config, "--resample", "--options", save])
    mine = processes.join_processes()
    said = "nothing"
    with contextlib.suppress(SystemExit):
        try:
            with mine.together():
                if mine.rank == 1:
                    raise DataError("broken in process 1 only")
        except DataError as error:
            said = str(error)
    (folder / f"said{mine.rank}").write_text(f"{said}; {mine.share(mine.rank)}", encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
