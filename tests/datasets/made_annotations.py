"""Small files in the true formats of the original's data sets, with made-up content.

``write(name, folder)`` writes the annotations and pictures of one registry name below a folder and
gives the ``build_info`` that points to them.
"""

import json
import pickle
from pathlib import Path
from typing import Any

from conftest import write_picture

SIZE = (200, 100)
"""Width and height of every picture: one pixel is half a hundredth across and a hundredth down."""


def write(name: str, folder: Path) -> dict[str, Any]:
    """Write what a name reads.

    Args:
        name: A registry name.
        folder: Where to.
    """
    return _WRITERS[name](folder)


def _json(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def _pictures(folder: Path, *names: str) -> str:
    for number, name in enumerate(names):
        write_picture(folder / name, number, SIZE)
    return str(folder)


def _vqa(folder: Path) -> dict[str, Any]:
    first = [
        {
            "question_id": 262148000, "question": "Where is he looking?",
            "answer": ["down", "down", "at table", "Skateboard"],
            "image": "val2014/COCO_val2014_000000262148.jpg", "dataset": "vqa",
        },
    ]  # fmt: skip
    second = [
        {
            "question_id": 58929002, "question": "What color is the cat?", "answer": ["black"],
            "image": "train2014/COCO_train2014_000000058929.jpg", "dataset": "vqa",
        },
    ]  # fmt: skip
    files = [_json(folder / "a.json", first), _json(folder / "b.json", second)]
    images = _pictures(
        folder / "images", "COCO_val2014_000000262148.jpg", "COCO_train2014_000000058929.jpg"
    )
    return {"ann_path": files, "image_path": images}


def _aok_vqa(folder: Path) -> dict[str, Any]:
    rows = [
        {
            "split": "train", "image_id": 299207, "question_id": "22MexNkBPpdZGX6sxbxVBH",
            "question": "What is the man by the bags awaiting?",
            "choices": ["skateboarder", "train", "delivery", "cab"], "correct_choice_idx": 3,
            "direct_answers": ["ride", "ride", "bus", "taxi"], "difficult_direct_answer": False,
            "image": "train2017/000000299207.jpg",
        },
    ]  # fmt: skip
    images = _pictures(folder / "images", "000000299207.jpg")
    return {"ann_path": _json(folder / "aokvqa.json", rows), "image_path": images}


def _gqa(folder: Path) -> dict[str, Any]:
    rows = [
        {
            "image": "2370799.jpg", "question": "Is it overcast?", "answer": "no",
            "fullAnswer": "No, it is clear.", "question_id": "02930152", "dataset": "gqa",
        },
    ]  # fmt: skip
    images = _pictures(folder / "images", "2370799.jpg")
    return {"ann_path": _json(folder / "gqa.json", rows), "image_path": images}


def _ocrvqa(folder: Path) -> dict[str, Any]:
    def cover(split: int, ending: str) -> dict[str, Any]:
        return {
            "imageURL": f"http://ecx.example.com/images/51RB.{ending}", "split": split,
            "questions": ["Who wrote this book?", "Is this a comedy?"],
            "answers": ["Sandra Boynton", "No"], "title": "Mom's Calendar",
            "authorName": "Sandra Boynton", "genre": "Calendars",
        }  # fmt: skip

    content = {"761183272": cover(1, "jpg"), "123": cover(2, "jpg"), "B00X": cover(1, "gif")}
    images = _pictures(folder / "images", "761183272.jpg", "B00X.gif", "123.jpg")
    return {"ann_path": _json(folder / "dataset.json", content), "image_path": images}


def _coco_caption(folder: Path) -> dict[str, Any]:
    rows = [
        {"caption": "A restaurant has modern wooden tables.", "image_id": "coco_522418",
         "image": "val2014/COCO_val2014_000000522418.jpg"},
        {"caption": "A woman wearing a net; cutting a cake!", "image_id": "coco_7",
         "image": "train2014/COCO_train2014_000000000007.jpg"},
    ]  # fmt: skip
    images = _pictures(folder / "images", "COCO_train2014_000000000007.jpg")
    return {"ann_path": _json(folder / "karpathy.json", rows), "image_path": images}


def _textcaps(folder: Path) -> dict[str, Any]:
    content = {
        "dataset_type": "train", "dataset_name": "textcaps",
        "data": [
            {"image_id": "0054c91397f2fe05", "image_name": "0054c91397f2fe05", "image_height": 9,
             "caption_str": "A copy of The Book.", "caption_id": 1, "set_name": "train",
             "image_path": "train/0054c91397f2fe05.jpg"},
        ],
    }  # fmt: skip
    images = _pictures(folder / "train_images", "0054c91397f2fe05.jpg")
    return {"ann_path": _json(folder / "TextCaps.json", content), "image_path": images}


def _cc_sbu_align(folder: Path) -> dict[str, Any]:
    text = "The image shows a Man. " + "word " * 60
    content = {"annotations": [{"image_id": "2", "caption": text.strip()}]}
    _json(folder / "filter_cap.json", content)
    _pictures(folder / "image", "2.jpg")
    return {"storage": str(folder)}


def _refer(folder: Path, dataset: str, split_by: str) -> dict[str, Any]:
    def ref(number: int, split: str, box: int, sentences: list[str]) -> dict[str, Any]:
        return {
            "ref_id": number, "ann_id": box, "image_id": 581857, "category_id": 1, "split": split,
            "file_name": f"COCO_train2014_000000581857_{number}.jpg",
            "sent_ids": list(range(number * 10, number * 10 + len(sentences))),
            "sentences": [
                {"raw": text, "sent": text.lower(), "sent_id": number * 10 + i,
                 "tokens": text.lower().split()}
                for i, text in enumerate(sentences)
            ],
        }  # fmt: skip

    refs = [
        ref(1, "train", 11, ["THE lady with the blue shirt", "lady"]),
        ref(2, "testA", 12, ["man"]),
        ref(3, "train", 12, ["man in back"]),
    ]
    instances = {
        "info": {}, "licenses": [], "categories": [{"id": 1, "name": "person"}],
        "images": [{"id": 581857, "width": SIZE[0], "height": SIZE[1], "file_name": "x.jpg"}],
        "annotations": [
            # x 20/200, y 30/100, to 120/200 and 80/100
            {"id": 11, "image_id": 581857, "category_id": 1, "bbox": [20.0, 30.0, 100.0, 50.0]},
            # to 30.7/200 = 15.35 and 25.5/100: the nearest whole numbers are 15 and 26
            {"id": 12, "image_id": 581857, "category_id": 1, "bbox": [0, 5.4, 30.7, 20.1]},
        ],
    }  # fmt: skip
    home = folder / "refs" / dataset
    _json(home / "instances.json", instances)
    # Protocol 0 is the one of the published files.
    (home / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=0))
    images = _pictures(folder / "coco", "train2014/COCO_train2014_000000581857.jpg")
    return {"ann_path": str(folder / "refs"), "image_path": images}


def _refvg(folder: Path) -> dict[str, Any]:
    def region(number: int, image: int, box: list[int], phrase: str) -> dict[str, Any]:
        x, y, width, height = box
        return {"region_id": number, "width": width, "height": height, "image_id": image,
                "phrase": phrase, "y": y, "x": x}  # fmt: skip

    address = "https://cs.stanford.edu/people/rak248"
    images = [
        {"width": SIZE[0], "url": f"{address}/VG_100K_2/1.jpg", "height": SIZE[1], "image_id": 1,
         "coco_id": None, "flickr_id": None},
        {"width": SIZE[0], "url": f"{address}/VG_100K/2.jpg", "height": SIZE[1], "image_id": 2,
         "coco_id": None, "flickr_id": None},
    ]  # fmt: skip
    regions = [
        {"id": 1, "regions": [region(11, 1, [20, 10, 60, 40], "Shoes on the FLOOR."),
                              region(12, 1, [0, 0, 192, 90], "too large"),
                              region(13, 1, [50, 50, 0, 20], "no width")]},
        {"id": 2, "regions": [region(21, 2, [190, 90, 20, 10], "a corner")]},
    ]  # fmt: skip
    _json(folder / "image_data.json", images)
    _json(folder / "region_descriptions.json", regions)
    _pictures(folder, "VG_100K_2/1.jpg", "VG_100K/2.jpg")
    return {"data_dir": str(folder)}


def _flickr(folder: Path) -> dict[str, Any]:
    rows = [
        {
            "image_id": "1000092795", "caption": "Two young guys are outside",
            "grounded_caption": "<p>Two young guys</p> {<1><2><30><40>}<delim>{<5><6><7><8>} are.",
            "output": "<p>Two young guys</p> {<1><2><30><40>}<delim>{<5><6><7><8>}",
            "phrase": "Two young guys", "bbox": "{<1><2><30><40>}<delim>{<5><6><7><8>}",
        },
    ]  # fmt: skip
    images = _pictures(folder / "images", "1000092795.jpg")
    return {"ann_path": _json(folder / "flickr.json", rows), "image_path": images}


def _llava(folder: Path) -> dict[str, Any]:
    rows = [
        {
            "id": "000000033471", "image": "000000033471.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat are the Colors of the bus?"},
                {"from": "gpt", "value": "The bus is white and red."},
                {"from": "human", "value": "What feature is on the back?"},
                {"from": "gpt", "value": "An advertisement."},
            ],
        },
    ]  # fmt: skip
    images = _pictures(folder / "train2014", "COCO_train2014_000000033471.jpg")
    return {"ann_path": _json(folder / "llava.json", rows), "image_path": images}


def _unnatural(folder: Path) -> dict[str, Any]:
    def row(constraints: str | None, output: str) -> dict[str, Any]:
        instance = {
            "instruction_with_input": "Name the capital. Country: France", "input": "France",
            "constraints": constraints, "output": output,
        }  # fmt: skip
        return {"instruction": "Name the capital.", "instances": [instance]}

    rows = [row("One word.", "Paris."), row(None, "Paris")]
    return {"ann_path": _json(folder / "unnatural.json", rows)}


_WRITERS = {
    "coco_vqa": _vqa,
    "ok_vqa": _vqa,
    "aok_vqa": _aok_vqa,
    "gqa": _gqa,
    "ocrvqa": _ocrvqa,
    "coco_caption": _coco_caption,
    "textcaps_caption": _textcaps,
    "cc_sbu_align": _cc_sbu_align,
    **{
        prefix + name: lambda folder, d=dataset, s=split_by: _refer(folder, d, s)
        for prefix in ("", "inv")
        for name, dataset, split_by in (
            ("refcoco", "refcoco", "unc"),
            ("refcocop", "refcoco+", "unc"),
            ("refcocog", "refcocog", "umd"),
        )
    },
    "refvg": _refvg,
    "flickr_grounded_caption": _flickr,
    "flickr_CaptionToPhrase": _flickr,
    "flickr_ObjectToPhrase": _flickr,
    "llava_conversation": _llava,
    "multitask_conversation": _llava,
    "llava_detail": _llava,
    "llava_reason": _llava,
    "unnatural_instruction": _unnatural,
}
NAMES = tuple(_WRITERS)
