"""One run over data sets of all kinds: shares, processes, workers, going on after a stop."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made_mixture import SIZES, batches, entries, opened, seen, write_mixture
from made_shards import caption_shards, open_stream

from minigpt4.common.settings import RunSettings
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.sampling import MixedBatchSampler, describe_mixture, step_odds
from minigpt4.runners import runner_base
from minigpt4.tasks import ImageTextPretrainTask


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)


@pytest.fixture
def folder(vivqa: Path, mvtec: Path, tmp_path: Path) -> Path:
    return write_mixture(tmp_path)


class TestProcesses:
    def test_two_processes_of_two_workers_draw_what_one_draws(self, folder: Path):
        doubled = [2 * size for size in SIZES]
        # Together, a conversation of several turns is told as one even beside a single question.
        alone = batches(folder, batch_sizes=doubled)
        assert {batch[0][0] for batch in alone} == set(entries(folder))
        ranks = [batches(folder, rank=r, world_size=2, num_workers=2) for r in range(2)]
        for whole, first, second in zip(alone, *ranks, strict=True):
            assert sorted(first + second) == sorted(whole)

    def test_three_processes_share_lanes_and_still_give_each_sample_once(self, folder: Path):
        alone = batches(folder, batch_sizes=[3 * size for size in SIZES])
        ranks = [batches(folder, rank=r, world_size=3) for r in range(3)]
        for whole, *parts in zip(alone, *ranks, strict=True):
            assert sorted(itertools.chain(*parts)) == sorted(whole)

    def test_a_stream_is_drawn_once_a_pass_whatever_reads_it(self, tmp_path: Path):
        folder = caption_shards(tmp_path / "even", [6] * 4)
        settings = {"batch_sizes": [3], "odds": [1], "seed": 0, "num_steps": 16}
        for workers in (0, 1, 2):
            loader = train_loader([open_stream(folder)], num_workers=workers, **settings)
            drawn = Counter(i for batch in loader for i in batch["sample_id"])
            assert len(drawn) == 24 and set(drawn.values()) == {2}


class TestResuming:
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_any_step_can_be_the_first(self, folder: Path, num_workers: int):
        whole = batches(folder, steps=24)
        for start in (1, 7, 8, 15, 23) if num_workers else range(24):
            left = batches(folder, start_step=start, steps=24 - start, num_workers=num_workers)
            assert left == whole[start:]

    def test_epochs_follow_each_other_without_reading_again(self, folder: Path):
        splits = opened(folder)
        stream = splits[-1].dataset
        run = RunSettings(iters_per_epoch=10, seed=5, num_workers=1)
        data = ImageTextPretrainTask().training_data(run, splits, [])
        found, readers = [], []
        for epoch in range(3):
            found += [seen(batch) for batch in data.train_batches(epoch, 0)]
            readers.append([lane._ahead for lane in stream._reader.lanes])
        assert found == batches(folder, odds=step_odds([1] * 5, SIZES))
        assert readers[0] == readers[1] == readers[2]
        assert [seen(batch) for batch in data.train_batches(1, 4)] == found[14:20]


class TestShares:
    @pytest.mark.parametrize("mixing", ["samples", "steps"])
    def test_ratios_are_shares_of_samples_or_of_steps(self, mixing: str):
        sizes, ratios = [2, 8, 4], [3.0, 1.0, 4.0]
        odds = step_odds(ratios, sizes, mixing)
        sampler = MixedBatchSampler(
            [100, None, 50], batch_sizes=sizes, odds=odds, seed=0, num_steps=20_000
        )
        steps = np.bincount(sampler.chosen(0, 20_000), minlength=3)
        counted = steps * np.array(sizes) if mixing == "samples" else steps
        assert counted / counted.sum() == pytest.approx(np.array([3, 1, 4]) / 8, abs=0.01)

    def test_they_are_told(self):
        words = describe_mixture(["a", "b"], step_odds([3, 1], [2, 6]), [2, 6])
        assert words == (
            "a 75.0 % of samples (90.0 % of steps), b 25.0 % of samples (10.0 % of steps)"
        )

    def test_a_run_announces_them(self, folder: Path, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.INFO)
        splits = opened(folder)
        ImageTextPretrainTask().training_data(RunSettings(mixing="steps"), splits, [])
        assert "mixing: vivqa 20.0 % of samples (20.0 % of steps), mvtec_ad 30.0 %" in caplog.text

    def test_positions_of_a_stream_are_shared_by_their_remainder(self):
        draws = [
            [[d.row for d in batch] for batch in MixedBatchSampler(
                [None], batch_sizes=[2], odds=[1], seed=0, num_steps=2, start_step=1, rank=rank,
                world_size=3,
            )]
            for rank in range(3)
        ]  # fmt: skip
        assert draws == [[[6, 9], [12, 15]], [[7, 10], [13, 16]], [[8, 11], [14, 17]]]

    def test_one_pass_counts_streams(self, folder: Path):
        data = ImageTextPretrainTask().training_data(RunSettings(), opened(folder), [])
        assert data.iters_per_epoch == 4 + 2 + 7 + 5 + 18
