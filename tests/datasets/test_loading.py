"""Samples to batches to loaders."""

import pickle

import numpy as np
import pytest
import torch
from conftest import open_train, write_json

from minigpt4.common.errors import DataError
from minigpt4.datasets.collate import collate
from minigpt4.datasets.loaders import eval_loader, train_loader, worker_count
from minigpt4.datasets.sampling import MixedBatchSampler, MixedDraw, one_pass_steps
from minigpt4.datasets.schema import CONNECT_SYM, Sample, Turn


def sample(name="0", *, turns=1, image=None, features=None):
    return Sample(
        id=name,
        turns=[Turn(f"q{i} ", f"a{i}") for i in range(turns)],
        image=image,
        features=features,
    )


class TestCollate:
    def test_pictures(self):
        batch = collate(
            [sample("x", image=torch.ones(3, 4, 4)), sample(image=torch.zeros(3, 4, 4))]
        )
        assert batch["image"].shape == (2, 3, 4, 4)
        assert batch["image"][0].min() == 1
        assert batch["instruction_input"] == ["q0 ", "q0 "]
        assert batch["answer"] == ["a0", "a0"]
        assert batch["sample_id"] == ["x", "0"]
        assert "conv_q" not in batch and "length" not in batch

    def test_features_take_the_pictures_place(self):
        batch = collate([sample(features=torch.ones(5, 8))] * 2)
        assert batch["image_features"].shape == (2, 5, 8)
        assert "image" not in batch

    def test_several_pictures_are_padded(self):
        batch = collate([sample(image=torch.ones(n, 3, 4, 4)) for n in (1, 3)])
        assert batch["image"].shape == (2, 3, 3, 4, 4)
        assert batch["length"] == [1, 3]
        assert batch["image"][0, 1:].abs().sum() == 0

    def test_text_only(self):
        batch = collate([sample(), sample()])
        assert "image" not in batch and "image_features" not in batch

    def test_conversations_are_joined(self):
        batch = collate([sample(turns=2, image=torch.ones(3, 4, 4)),
                         sample(turns=1, image=torch.ones(3, 4, 4))])  # fmt: skip
        assert batch["conv_q"] == [f"q0 {CONNECT_SYM}q1 ", "q0 "]
        assert batch["conv_a"] == [f"a0{CONNECT_SYM}a1", "a0"]
        assert batch["connect_sym"] == [CONNECT_SYM] * 2
        assert "answer" not in batch

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            (sample(image=torch.ones(3, 4, 4)), sample("t"), "t .text only"),
            (sample(features=torch.ones(2, 2)), sample(image=torch.ones(3, 4, 4)), "features"),
            (sample(image=torch.ones(3, 4, 4)), sample(image=torch.ones(3, 8, 8)), "image_size"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, first, second, message):
        with pytest.raises(DataError, match=message):
            collate([first, second])


def sampler(sizes=(10, 7), batch_sizes=(2, 3), ratios=(3, 1), **kwargs):
    settings = {"seed": 1, "num_steps": 40} | kwargs
    return MixedBatchSampler(list(sizes), batch_sizes=batch_sizes, odds=ratios, **settings)


class TestSampler:
    def test_it_is_a_function_of_seed_and_step(self):
        whole = list(sampler())
        assert list(sampler()) == whole
        assert list(sampler(seed=2)) != whole
        for start in (1, 13, 39):
            assert list(sampler(start_step=start, num_steps=40 - start)) == whole[start:]

    def test_resuming_far_on_is_exact(self):
        tail = list(sampler(num_steps=9100))[9000:]
        assert list(sampler(start_step=9000, num_steps=100)) == tail

    def test_a_step_has_one_data_set_and_its_batch_size(self):
        for batch in sampler():
            assert {draw.dataset for draw in batch} in ({0}, {1})
            assert len(batch) == (2, 3)[batch[0].dataset]

    def test_ranks_share_the_batches_of_one_process(self):
        one = list(sampler(batch_sizes=(4, 6)))
        two = [list(sampler(rank=r, world_size=2)) for r in range(2)]
        assert [a + b for a, b in zip(*two, strict=True)] == one

    def test_every_pass_shows_each_sample_once_in_a_new_order(self):
        draws = [d for batch in sampler((6,), (4,), (1,), num_steps=9) for d in batch]
        passes = [[d.row for d in draws if d.salt == salt] for salt in range(6)]
        assert all(sorted(order) == list(range(6)) for order in passes)
        assert len({tuple(order) for order in passes}) > 1

    def test_ratios_are_odds(self):
        chosen = sampler(num_steps=4000, ratios=(300, 100)).chosen(0, 4000)
        assert np.mean(chosen == 0) == pytest.approx(0.75, abs=0.03)
        assert set(sampler(ratios=(0, 5)).chosen(0, 500)) == {1}
        assert set(sampler(ratios=(5, 0)).chosen(0, 500)) == {0}

    @pytest.mark.parametrize(
        "wrong", [{"sizes": (0, 3)}, {"batch_sizes": (0, 1)}, {"ratios": (0, 0)}, {"ratios": (1,)}]
    )
    def test_impossible_settings_are_refused(self, wrong):
        with pytest.raises(ValueError, match=r"data sets|ratio"):
            sampler(**wrong)

    def test_one_pass(self):
        assert one_pass_steps([10, 7], [2, 3]) == 5 + 3
        assert one_pass_steps([10, 7], [2, 3], world_size=2) == 3 + 2


def mixture(vivqa, mvtec):
    text = write_json(vivqa / "t.json", [{"instruction": str(i), "output": "x"} for i in range(5)])
    return [
        open_train("vivqa", vivqa / "train.csv", vivqa / "images"),
        open_train("mvtec_ad", mvtec / "train_data.json", mvtec / "images"),
        open_train("text", text, None, kind="conversation", image=None),
    ]


def seen(datasets, **kwargs):
    settings = {"batch_sizes": [2, 3, 2], "odds": [1, 1, 1], "seed": 3, "num_steps": 12} | kwargs
    return [
        (b["dataset"], b["sample_id"], b["instruction_input"], b["answer"])
        for b in train_loader(datasets, **settings)
    ]


class TestLoaders:
    def test_workers_give_the_same_batches(self, vivqa, mvtec):
        datasets = mixture(vivqa, mvtec)
        alone = seen(datasets)
        assert {name for name, *_ in alone} == {"vivqa", "mvtec_ad", "text"}
        assert seen(datasets, num_workers=2) == alone
        assert seen(datasets, num_workers=1, start_step=5, num_steps=7) == alone[5:]

    def test_data_sets_can_be_sent_to_other_processes(self, vivqa):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        loader = eval_loader(dataset, batch_size=2)
        sent = pickle.loads(pickle.dumps((loader.dataset, loader.worker_init_fn)))[0]
        batch = sent.__getitems__([MixedDraw(0, 1, 0)])
        assert batch["answer"] == ["màu đỏ 1"]
        assert torch.equal(batch["image"][0], dataset[1].image)

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_a_broken_picture_gives_one_sentence_from_any_process(self, vivqa, num_workers):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        (vivqa / "images/000000000003.jpg").write_bytes(b"no")
        with pytest.raises(DataError, match=r"000000000003\.jpg") as error:
            list(eval_loader(dataset, batch_size=2, num_workers=num_workers))
        assert "Traceback" not in str(error.value)

    def test_skipped_pictures_are_counted_whoever_read_them(self, vivqa, caplog):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images", on_broken="skip")
        (vivqa / "images/000000000003.jpg").write_bytes(b"no")
        kwargs = {"batch_sizes": [4], "odds": [1], "seed": 0, "num_steps": 6, "num_workers": 1}
        batches = list(train_loader([dataset], **kwargs))
        assert all(len(batch["sample_id"]) == 4 for batch in batches)
        assert "3-3" not in {name for batch in batches for name in batch["sample_id"]}
        lines = [record.getMessage() for record in caplog.records]
        assert sum("000000000003.jpg" in line for line in lines) == 1
        assert any("others stood in for unusable samples" in line for line in lines)

    def test_evaluation_sees_every_sample_once_in_order(self, vivqa):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        ids = [i for b in eval_loader(dataset, batch_size=3) for i in b["sample_id"]]
        assert ids == [f"{i}-{i}" for i in range(8)]
        part = [
            i for b in eval_loader(dataset, batch_size=3, indices=[5, 1]) for i in b["sample_id"]
        ]
        assert part == ["5-5", "1-1"]

    def test_worker_count(self):
        assert worker_count(3) == 3
        assert 0 <= worker_count(-1) <= 8

    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_reading_leaves_the_random_numbers_of_training_alone(self, vivqa, num_workers):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        state = torch.random.get_rng_state()
        list(eval_loader(dataset, batch_size=4, num_workers=num_workers))
        assert torch.equal(torch.random.get_rng_state(), state)
