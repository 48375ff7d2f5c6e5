"""GRIT's captions with boxes: grounding, referring, identifying and detecting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_shards import members, open_stream, write_tar

from minigpt4.common.errors import ConfigError
from minigpt4.datasets.loaders import train_loader


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))


GRIT = {
    "caption": "A dog, and a big dog next to a red ball",
    "noun_chunks": [
        [0, 5, 0.1, 0.2, 0.5, 0.6, 0.9],
        [11, 20, 0.5, 0.5, 1.004, 0.9, 0.8],
        [29, 39, 0.0, 0.0, 0.25, 0.3, 0.7],
        [29, 39, 0.5, 0.0, 0.75, 0.3, 0.66],
        [21, 25, 0.1, 0.1, 0.2, 0.2, 0.3],
    ],
    "ref_exps": [[11, 39, 0.5, 0.5, 1.0, 0.9, 0.8]],
}
BOXES = {"a dog": "{<10><20><50><60>}", "a big dog": "{<50><50><100><90>}",
         "a red ball": "{<0><0><25><30>}<delim>{<50><0><75><30>}"}  # fmt: skip


class TestGrit:
    def open(self, folder: Path, *rows: dict[str, Any], **info: Any) -> Any:
        content = members({f"{n:03d}": row for n, row in enumerate(rows)})
        shard = write_tar(folder / "0.tar", content)
        return open_stream(shard, kind="grit", name="grit", **{"min_score": 0.65} | info)

    def turns(self, stream: Any, count: int = 30) -> set[tuple[str, str]]:
        pairs = [stream.pair(position) for position in range(count)]
        stream.stop()
        found = {(s.turns[0].instruction, s.turns[0].answer) for s in stream.samples(pairs)}
        assert all(i.startswith("<Img><ImageHere></Img> [") for i, _ in found)
        return {(i.removeprefix("<Img><ImageHere></Img> "), answer) for i, answer in found}

    def test_a_grounded_caption_has_its_boxes_in_place(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT, tasks=["grounding"]))
        assert {answer for _, answer in found} == {
            f"<p>a dog</p>{BOXES['a dog']} , and <p>a big dog</p>{BOXES['a big dog']} next to "
            f"<p>a red ball</p>{BOXES['a red ball']}"
        }
        assert all(instruction.startswith("[grounding] ") for instruction, _ in found)

    def test_expressions_are_referred_to_and_identified(self, tmp_path: Path):
        phrase, box = "a big dog next to a red ball", BOXES["a big dog"]
        found = self.turns(self.open(tmp_path / "r", GRIT, tasks=["refer"]))
        assert {answer for _, answer in found} == {box}
        assert all(i.startswith("[refer] ") and phrase in i for i, _ in found)
        found = self.turns(self.open(tmp_path / "i", GRIT, tasks=["identify"]))
        assert {answer for _, answer in found} == {phrase}
        assert all(i.startswith("[identify] ") and box in i for i, _ in found)

    def test_without_expressions_phrases_of_one_box_are_referred_to(self, tmp_path: Path):
        row = GRIT | {"ref_exps": []}
        found = self.turns(self.open(tmp_path, row, tasks={"refer": 1, "identify": 0}))
        assert {answer for _, answer in found} == {BOXES["a dog"], BOXES["a big dog"]}

    def test_all_boxes_of_a_phrase_are_detected(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT, tasks=["detection"]))
        assert found == {
            (f"[detection] {phrase} ", f"<p>{phrase}</p>{box}") for phrase, box in BOXES.items()
        }

    def test_all_four_are_drawn_the_same_every_time(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT), 60)
        assert {i.split("]")[0] for i, _ in found} == {
            "[grounding", "[refer", "[identify", "[detection"
        }  # fmt: skip
        assert self.turns(self.open(tmp_path, GRIT), 60) == found

    def test_weak_and_senseless_boxes_are_left_out_and_counted(self, tmp_path: Path, caplog: Any):
        wrong = [
            [0, 5, 0.5, 0.5, 0.5, 0.6, 0.9],  # no width
            [0, 99, 0, 0, 1, 1, 0.9],  # beyond the caption
            [0, 5, 7, 9, 40, 50, 0.9],  # pixels
            [3, 3, 0, 0, 1, 1, 0.9],  # no text
            "no",
            [0, 5, 0.5, 0.6, 0.4, 0.7, 0.9],  # inverted
        ]
        row = GRIT | {"noun_chunks": [*wrong, *GRIT["noun_chunks"]], "ref_exps": []}
        stream = self.open(tmp_path, row)
        (sample,) = stream.samples([stream.pair(0)])
        assert sample.meta["unusable_boxes"] == len(wrong)
        settings = {"batch_sizes": [1], "odds": [1], "seed": 0, "num_steps": 2}
        list(train_loader([stream], **settings))
        assert "grit: 12 boxes could not be used" in caplog.text
        row["noun_chunks"] = GRIT["noun_chunks"]
        only = self.open(tmp_path / "w", row, tasks="detection", min_score=0.85)
        assert self.turns(only) == {("[detection] a dog ", f"<p>a dog</p>{BOXES['a dog']}")}

    def test_samples_without_a_box_are_left_out(self, tmp_path: Path):
        stream = self.open(tmp_path, GRIT, {"caption": "nothing", "noun_chunks": []}, {"url": "x"})
        pairs = [stream.pair(position) for position in range(2)]
        stream.stop()
        assert {pair.id for pair in pairs} == {"0.tar/000"}
        assert len(pairs[0].skipped) == 2

    def test_columns_kept_as_text_are_read(self, tmp_path: Path):
        row = {key: json.dumps(value) if key != "caption" else value for key, value in GRIT.items()}
        assert self.turns(self.open(tmp_path / "a", row), 60) == self.turns(
            self.open(tmp_path / "b", GRIT), 60
        )

    @pytest.mark.parametrize("info", [{"tasks": ["caption"]}, {"tasks": {"refer": 0}},
                                      {"prompts": ["x"]}, {"prompts": {"vqa": ["x"]}}])  # fmt: skip
    def test_wrong_tasks_are_told(self, tmp_path: Path, info: dict[str, Any]):
        with pytest.raises(ConfigError, match="task"):
            self.open(tmp_path, GRIT, **info)
