"""Every data set of the three stages in small: rendered scenes in the true formats and folders.

Written below ``data`` where the default files (``minigpt4/configs/datasets``) look for them.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigpt4.common.boxes import format_box
from minigpt4.datasets.tiny.captions import name_en
from minigpt4.datasets.tiny.scenes import (
    SCENE_SIDE,
    Wanted,
    percent_box,
    place_objects,
    render,
)
from minigpt4.datasets.tiny.text_corpus import text_pairs
from minigpt4.datasets.tiny.vocabulary import COLOURS, KINDS, OBJECT_KINDS, PLACES, SCENE_COLOURS

SHARDS = "{00000..00001}.tar"


@dataclass
class Told:
    """A picture, its things as phrases with boxes 0-100, and what may be asked about it."""

    number: int
    jpeg: bytes
    things: list[tuple[str, list[int]]]
    questions: list[tuple[str, str]]

    @property
    def caption(self) -> str:
        """``a red house and a blue car.``"""
        return " and ".join(f"a {phrase}" for phrase, _ in self.things) + "."

    @property
    def grounded(self) -> str:
        """The caption with its boxes."""
        parts = (f"<p>a {phrase}</p> {format_box(box)}" for phrase, box in self.things)
        return " and ".join(parts)


def write_data(folder: Path, *, pictures: int, seed: int) -> None:
    """Write all data sets.

    Args:
        folder: The folder ``data``; must not exist.
        pictures: Scenes; each is in every data set.
        seed: Seed of everything.
    """
    told = [_tell(seed, number) for number in range(1, pictures + 1)]
    folder.mkdir(parents=True)
    _pictures(folder / "coco/images/train2014", told, _coco_name)
    _questions(folder, told)
    _captions(folder, told)
    _boxes(folder, told)
    _talk(folder, told, seed)
    for name in ("cc_sbu/cc_sbu_dataset", "laion/laion_dataset", "grit/grit_dataset"):
        _shards(folder / name, told, _grit_row if name.startswith("grit") else _pair_row)


def _tell(seed: int, number: int) -> Told:
    rng = np.random.default_rng([seed, number])
    count = int(rng.integers(1, 4))
    kinds, colours, places = (
        [names[i] for i in rng.permutation(len(names))[:count]]
        for names in (OBJECT_KINDS, SCENE_COLOURS, tuple(PLACES))
    )
    wanted = [
        (Wanted(kind, colour), place)
        for kind, colour, place in zip(kinds, colours, places, strict=True)
    ]
    scene = render(rng, place_objects(rng, wanted))
    file = io.BytesIO()
    scene.image.save(file, "JPEG", quality=90)
    questions = [("how many things are there?", str(count))]
    for thing in scene.objects:
        kind = KINDS[thing.kind].en
        questions.append((f"what color is the {kind}?", COLOURS[thing.colour].en))
    things = [(name_en(thing), percent_box(thing.box)) for thing in scene.objects]
    return Told(number, file.getvalue(), things, questions)


def _coco_name(number: int) -> str:
    return f"COCO_train2014_{number:012d}.jpg"


def _plain_name(number: int) -> str:
    return f"{number}.jpg"


def _pictures(folder: Path, told: Sequence[Told], name: Callable[[int], str]) -> None:
    folder.mkdir(parents=True)
    for each in told:
        (folder / name(each.number)).write_bytes(each.jpeg)


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _asked(told: Sequence[Told]) -> Iterator[tuple[Told, str, str]]:
    return ((each, question, answer) for each in told for question, answer in each.questions)


def _questions(folder: Path, told: Sequence[Told]) -> None:
    vqa = [
        {
            "image": f"train2014/{_coco_name(each.number)}", "question": question,
            "question_id": number, "answer": [answer] * 9 + ["unknown"],
            "direct_answers": [answer] * 10, "choices": [answer, "x"], "correct_choice_idx": 0,
        }
        for number, (each, question, answer) in enumerate(_asked(told))
    ]  # fmt: skip
    half = len(vqa) // 2
    _json(folder / "vqav2/vqa_train.json", vqa[:half])
    _json(folder / "vqav2/vqa_val.json", vqa[half:])
    _json(folder / "okvqa/okvqa_train.json", vqa)
    _json(folder / "aokvqa/aokvqa_v1p0_train.json", vqa)
    _json(
        folder / "gqa/train_balanced_questions.json",
        [{"image": _plain_name(e.number), "question": q, "answer": a} for e, q, a in _asked(told)],
    )
    _pictures(folder / "gqa/images", told, _plain_name)
    covers = {
        str(each.number): {
            "imageURL": "http://example.com/x.jpg", "split": 1,
            "questions": [question for question, _ in each.questions],
            "answers": [answer for _, answer in each.questions], "title": "", "genre": "",
        }
        for each in told
    }  # fmt: skip
    _json(folder / "ocrvqa/dataset.json", covers)
    _pictures(folder / "ocrvqa/images", told, _plain_name)


def _captions(folder: Path, told: Sequence[Told]) -> None:
    rows = [
        {"image": f"train2014/{_coco_name(e.number)}", "image_id": e.number, "caption": e.caption}
        for e in told
    ]
    _json(folder / "coco_captions/annotations/coco_karpathy_train.json", rows)
    texts = [{"image_id": each.number, "caption_str": each.caption} for each in told]
    _json(folder / "textcaps/TextCaps_0.1_train.json", {"data": texts})
    _pictures(folder / "textcaps/train_images", told, _plain_name)


def _boxes(folder: Path, told: Sequence[Told]) -> None:
    things = [(each, phrase, box) for each in told for phrase, box in each.things]
    side = SCENE_SIDE
    pixels = [[v * side / 100 for v in box] for _, _, box in things]
    xywh = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in pixels]
    instances = {
        "images": [{"id": each.number, "width": side, "height": side} for each in told],
        "annotations": [{"id": i, "bbox": box} for i, box in enumerate(xywh)],
    }
    refs = [
        {
            "ref_id": i, "ann_id": i, "image_id": each.number, "split": "train",
            "sentences": [{"raw": phrase, "sent": phrase, "sent_id": i, "tokens": phrase.split()}],
        }
        for i, (each, phrase, _) in enumerate(things)
    ]  # fmt: skip
    for name, split_by in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        home = folder / "refcoco_annotations" / name
        _json(home / "instances.json", instances)
        (home / f"refs({split_by}).p").write_bytes(pickle.dumps(refs))
    _json(
        folder / "visual_genome/image_data.json",
        [
            {"image_id": e.number, "width": side, "height": side,
             "url": f"https://example.com/VG_100K/{e.number}.jpg"}
            for e in told
        ],
    )  # fmt: skip
    regions: dict[int, list[dict[str, Any]]] = {each.number: [] for each in told}
    for i, ((each, phrase, _), box) in enumerate(zip(things, xywh, strict=True)):
        x, y, width, height = (round(value) for value in box)
        regions[each.number].append(
            {"region_id": i, "image_id": each.number, "phrase": phrase,
             "x": x, "y": y, "width": width, "height": height}
        )  # fmt: skip
    _json(
        folder / "visual_genome/region_descriptions.json",
        [{"id": number, "regions": found} for number, found in regions.items()],
    )
    _pictures(folder / "visual_genome/VG_100K", told, _plain_name)
    (folder / "visual_genome/VG_100K_2").mkdir()
    flickr = folder / "filtered_flickr"
    _pictures(flickr / "images", told, _plain_name)
    _json(
        flickr / "groundedcaption.json",
        [{"image_id": e.number, "grounded_caption": e.grounded} for e in told],
    )
    _json(
        flickr / "captiontobbox.json",
        [
            {"image_id": e.number, "caption": e.caption,
             "output": " ".join(f"<p>{p}</p> {format_box(b)}" for p, b in e.things)}
            for e in told
        ],
    )  # fmt: skip
    _json(
        flickr / "phrasetobbox.json",
        [{"image_id": e.number, "phrase": p, "bbox": format_box(b)} for e, p, b in things],
    )


def _talk(folder: Path, told: Sequence[Told], seed: int) -> None:
    def turns(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        found = []
        for number, (question, answer) in enumerate(pairs):
            begin = "" if number else "<image>\n"
            found.append({"from": "human", "value": begin + question})
            found.append({"from": "gpt", "value": answer})
        return found

    def rows(pairs_of: Callable[[Told], list[tuple[str, str]]]) -> list[dict[str, Any]]:
        return [{"id": f"{e.number:012d}", "conversations": turns(pairs_of(e))} for e in told]

    first = ("What is in this picture?",)
    talks = {
        "llava/conversation_58k": rows(lambda e: [(*first, f"There is {e.caption}"), *e.questions]),
        "llava/detail_23k": rows(lambda e: [("Describe it.", f"The picture shows {e.caption}")]),
        "llava/complex_reasoning_77k": rows(
            lambda e: [("Why is it busy?", f"Because there are {len(e.things)} things.")]
        ),
        "multitask_conversation/multitask_conversation": rows(
            lambda e: [(f"[caption] {first[0]}", e.caption), ("[grounding] where?", e.grounded)]
        ),
    }
    for name, content in talks.items():
        _json(folder / f"{name}.json", content)
    pairs = text_pairs(np.random.default_rng(seed), limit=3 * len(told))
    instances = [
        {"instances": [{"instruction_with_input": ask, "constraints": None, "output": said}]}
        for ask, said in pairs
    ]
    _json(folder / "unnatural_instructions/filtered_unnatural_instruction.json", instances)


def _pair_row(each: Told) -> dict[str, Any]:
    return {"caption": each.caption}


def _grit_row(each: Told) -> dict[str, Any]:
    spans = []
    for phrase, box in each.things:
        start = each.caption.index(f"a {phrase}")
        spans.append([start, start + len(phrase) + 2, *(v / 100 for v in box), 0.9])
    return {"caption": each.caption, "noun_chunks": spans, "ref_exps": spans}


def _shards(folder: Path, told: Sequence[Told], row: Callable[[Told], dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    for shard in range(2):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for each in told[shard::2]:
                for ending, data in (("jpg", each.jpeg), ("json", json.dumps(row(each)).encode())):
                    info = tarfile.TarInfo(f"{each.number:09d}.{ending}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
