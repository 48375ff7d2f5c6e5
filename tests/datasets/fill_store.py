"""A process that fills a store: FOLDER STARTED PICTURE... (also as a script)."""

import sys
from pathlib import Path

import torch
from conftest import pixels

from minigpt4.datasets.features import FeatureCache


def main(root: str, ready: str, other: str, *pictures: str) -> None:
    """Wait until the other process is there too, build, and say how many were encoded here."""
    Path(ready).touch()
    while not Path(other).exists():
        pass
    store = FeatureCache("disk", root, encoder_fingerprint="e", processor_fingerprint="p")
    report = store.build(pictures, lambda x: x.reshape(len(x), 3, 16), pixels, batch_size=2)
    total = sum(float(store[path].float().sum()) for path in pictures)
    sys.stdout.write(f"{report.encoded} {report.reused} {total:.4f}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
