"""The same three pictures with objects, written in every format."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import write_picture

# name, size, (class, left, top, right, bottom in pixels)
PICTURES = {
    "a.jpg": ((200, 100), [("dog", 20, 50, 60, 90), ("cat", 100, 20, 150, 60),
                           ("cat", 10, 10, 50, 40)]),
    "b.jpg": ((100, 100), [("chó con", 0, 0, 100, 100)]),
    "c.png": ((50, 80), []),
}  # fmt: skip
NAMES = ["cat", "dog", "chó con"]
ANSWERS = {
    "a.jpg": "<p>cat</p>{<5><10><25><40>}<delim>{<50><20><75><60>} <p>dog</p>{<10><50><30><90>}",
    "b.jpg": "<p>chó con</p>{<0><0><100><100>}",
    "c.png": "none",
}


def write_pictures(folder: Path) -> None:
    for seed, (name, (size, _)) in enumerate(PICTURES.items()):
        write_picture(folder / name, seed, size)


def write_coco(folder: Path) -> Path:
    """``instances.json`` beside ``images``; one annotation is of a crowd."""
    write_pictures(folder / "images")
    images, annotations = [], []
    for number, (name, ((width, height), objects)) in enumerate(PICTURES.items()):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for kind, x1, y1, x2, y2 in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(kind) + 7,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    annotations.append({**annotations[0], "id": 99, "iscrowd": 1, "bbox": [0, 0, 9, 9]})
    categories = [{"id": i + 7, "name": name} for i, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "instances.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def write_voc(folder: Path) -> Path:
    """VOC's folders, pixels counted from 1; one object is difficult."""
    write_pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for name, ((width, height), objects) in PICTURES.items():
        boxes = "".join(
            f"<object><name>{kind}</name><difficult>{int(kind == 'dog')}</difficult><bndbox>"
            f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for kind, x1, y1, x2, y2 in objects
        )
        text = (
            f"<annotation><filename>{name}</filename><size><width>{width}</width>"
            f"<height>{height}</height><depth>3</depth></size>{boxes}</annotation>"
        )
        path = folder / "Annotations" / f"{Path(name).stem}.xml"
        path.write_text(text, encoding="utf-8")
    return folder


def write_yolo(folder: Path, split: str = "train") -> Path:
    """``data.yaml``, ``images/<split>`` and ``labels/<split>``; the empty picture has no file."""
    write_pictures(folder / "images" / split)
    (folder / "labels" / split).mkdir(parents=True)
    for name, ((width, height), objects) in PICTURES.items():
        lines = [
            f"{NAMES.index(kind)} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
            f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
            for kind, x1, y1, x2, y2 in objects
        ]
        if lines:
            (folder / "labels" / split / f"{Path(name).stem}.txt").write_text("".join(lines))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))
    path = folder / "data.yaml"
    path.write_text(f"path: .\n{split}: images/{split}\nnames:\n{names}", encoding="utf-8")
    return path
