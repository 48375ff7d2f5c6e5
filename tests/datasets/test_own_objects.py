"""Objects with boxes of the user's own, in every format, without code."""

import csv
import json
import logging

import pytest
from conftest import open_train, pixels, write_json, write_picture
from made_objects import ANSWERS, NAMES, PICTURES, write_coco, write_pictures, write_voc, write_yolo

from minigpt4.common.boxes import parse_boxes
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings, EvalDatasetSettings
from minigpt4.datasets.builders import build_eval_dataset, make_builder


def answers(dataset):
    """Answers by picture name, the pictures read."""
    samples = [dataset[i] for i in range(len(dataset))]
    assert all(s.image is not None for s in samples)
    return {s.picture.rpartition("/")[2]: s.turns[0].answer for s in samples}


def prompts(dataset):
    return {sample.turns[0].instruction for sample in dataset.described()}


def open_objects(path, images=None, **info):
    return open_train("mine", path, images, kind="detection", **info)


class TestFormats:
    """One content, every format, the same answers."""

    def test_coco(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        dataset = open_objects(write_coco(tmp_path), reader="coco")
        assert answers(dataset) == ANSWERS
        assert prompts(dataset) == {"<Img><ImageHere></Img> [detection] cat, dog, chó con "}
        assert "1 crowds" in caplog.text

    def test_voc(self, tmp_path):
        folder = write_voc(tmp_path)
        for path in (folder, folder / "Annotations"):
            dataset = open_objects(path, reader="voc", classes=NAMES)
            assert answers(dataset) == ANSWERS
        dataset = open_objects(folder, reader="voc", reader_options={"difficult": False})
        assert "dog" not in answers(dataset)["a.jpg"]

    def test_voc_counted_from_zero_by_other_tools(self, tmp_path):
        write_voc(tmp_path)
        for file in (tmp_path / "Annotations").iterdir():
            text = file.read_text(encoding="utf-8")
            for number in (21, 51, 101, 11, 1):
                for corner in ("xmin", "ymin"):
                    text = text.replace(
                        f"<{corner}>{number}</{corner}>", f"<{corner}>{number - 1}</{corner}>"
                    )
            file.write_text(text, encoding="utf-8")
        assert answers(open_objects(tmp_path, reader="voc", classes=NAMES))["b.jpg"] == (
            "<p>chó con</p>{<0><0><100><100>}"
        )

    def test_voc_image_set(self, tmp_path):
        write_voc(tmp_path)
        sets = tmp_path / "ImageSets/Main"
        sets.mkdir(parents=True)
        (sets / "train.txt").write_text("a\nc\n")
        options = {"image_set": "ImageSets/Main/train.txt"}
        dataset = open_objects(tmp_path, reader="voc", reader_options=options)
        assert set(answers(dataset)) == {"a.jpg", "c.png"}
        (sets / "train.txt").write_text("a\nnope\n")
        with pytest.raises(DataError, match="nope"):
            open_objects(tmp_path, reader="voc", reader_options=options)

    def test_voc_files_that_define_entities_are_refused(self, tmp_path):
        write_voc(tmp_path)
        bomb = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        file = tmp_path / "Annotations/a.xml"
        file.write_text(bomb + file.read_text().replace("<name>dog", "<name>&x;"))
        with pytest.raises(DataError, match=r"a\.xml defines entities.*refused"):
            open_objects(tmp_path, reader="voc")

    def test_yolo_by_its_yaml_and_by_its_folder(self, tmp_path):
        path = write_yolo(tmp_path)
        assert answers(open_objects(path, reader="yolo")) == ANSWERS
        assert answers(open_objects(tmp_path / "labels/train", reader="yolo")) == ANSWERS

    def test_yolo_lists_outlines_and_roboflows_paths(self, tmp_path):
        path = write_yolo(tmp_path)
        label = tmp_path / "labels/train/b.txt"
        label.write_text("2 0 0 1 0 1 1 0 1\n")  # an outline around the whole picture
        (tmp_path / "train.txt").write_text("./images/train/b.jpg\n")
        path.write_text("train: ../train.txt\nnames: [cat, dog, chó con]\n", encoding="utf-8")
        assert answers(open_objects(path, reader="yolo")) == {"b.jpg": ANSWERS["b.jpg"]}

    def test_yolo_several_folders_and_labels_without_pictures(self, tmp_path, caplog):
        write_yolo(tmp_path, "train")
        path = write_yolo(tmp_path, "more")
        (tmp_path / "labels/more/gone.txt").write_text("0 0.5 0.5 1 1\n")
        text = path.read_text(encoding="utf-8")
        text = text.replace("more: images/more", "train: [images/train, images/more]")
        path.write_text(text, encoding="utf-8")
        with caplog.at_level("WARNING"):
            dataset = open_objects(path, reader="yolo")
        assert len(dataset) == 2 * len(ANSWERS)
        assert "1 text files belong to no picture" in caplog.text
        (tmp_path / "labels/more/b.txt").write_text("0 3 3 1 1\n")
        with pytest.raises(DataError, match=r"labels/more/b\.txt: the box .*outside"):
            open_objects(path, reader="yolo")

    @pytest.mark.parametrize(
        ("line", "said"),
        [("9 0.5 0.5 1 1", "no class 9"), ("0 0.5 0.5", "too few"), ("x 1 1 1 1", "not a class")],
    )
    def test_yolo_mistakes_name_file_and_line(self, tmp_path, line, said):
        path = write_yolo(tmp_path)
        (tmp_path / "labels/train/b.txt").write_text(f"2 0.5 0.5 1 1\n{line}\n")
        with pytest.raises(DataError, match=rf"b\.txt, line 2.*{said}"):
            open_objects(path, reader="yolo")

    def test_yolo_without_names_or_labels(self, tmp_path):
        path = write_yolo(tmp_path)
        settings = DatasetSettings(
            kind="detection", build_info={"ann_path": str(path), "reader": "yolo"}
        )
        with pytest.raises(ConfigError, match="no split 'val'"):
            make_builder("mine", settings).build_split("val")
        path.unlink()
        with pytest.raises(ConfigError, match=r"classes\.txt"):
            open_objects(tmp_path / "labels/train", reader="yolo")

    def test_a_json_list(self, tmp_path):
        """Boxes in hundredths, classes beside them: nothing else needs to be said."""
        write_pictures(tmp_path / "images")
        rows = [
            {
                "image": name,
                "boxes": [list(box) for each in parse_boxes(answer) for box in each.boxes],
                "classes": [each.phrase for each in parse_boxes(answer) for _ in each.boxes],
            }
            for name, answer in ANSWERS.items()
        ]
        path = write_json(tmp_path / "train.json", rows)
        assert answers(open_objects(path, classes=NAMES)) == ANSWERS

    def test_nested_columns(self, tmp_path):
        """Objects as a list of mappings, as many exports have them."""
        write_pictures(tmp_path / "images")
        rows = [
            {"file": name, "objects": [{"label": o[0], "box": list(o[1:])} for o in objects],
             "size": {"w": size[0], "h": size[1]}}
            for name, (size, objects) in PICTURES.items()
        ]  # fmt: skip
        path = tmp_path / "train.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        dataset = open_objects(
            path,
            image="{file}",
            box_form="pixels_xyxy",
            fields={"boxes": "objects.box", "classes": "objects.label", "width": "size.w",
                    "height": "size.h"},
            classes=NAMES,
        )  # fmt: skip
        assert answers(dataset) == ANSWERS

    def test_a_csv_of_one_box_a_row(self, tmp_path):
        write_pictures(tmp_path / "images")
        with (tmp_path / "boxes.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["filename", "xmin", "ymin", "xmax", "ymax", "label"])
            for name, (_, objects) in PICTURES.items():
                writer.writerows([name, *o[1:], o[0]] for o in objects)
                if not objects:
                    writer.writerow([name, "", "", "", "", ""])
        dataset = open_objects(
            tmp_path / "boxes.csv",
            image="{filename}",
            box_form="pixels_xyxy",
            fields={"x1": "xmin", "y1": "ymin", "x2": "xmax", "y2": "ymax", "class": "label"},
            classes=NAMES,
        )
        assert answers(dataset) == ANSWERS  # sizes are read from the pictures

    def test_numbers_of_classes(self, tmp_path):
        write_picture(tmp_path / "a.png", 0)
        rows = [{"image": "a.png", "boxes": [[0, 0, 50, 50]], "classes": [1]}]
        path = write_json(tmp_path / "x.json", rows)
        dataset = open_objects(path, classes=["cat", "dog"])
        assert answers(dataset) == {"a.png": "<p>dog</p>{<0><0><50><50>}"}
        with pytest.raises(DataError, match="classes must be names"):
            open_objects(path)


class TestSamples:
    def test_wording_and_the_empty_answer(self, tmp_path):
        dataset = open_objects(
            write_coco(tmp_path),
            reader="coco",
            prompts=["[detection] tìm {names}"],
            empty_answer="không có",
        )
        assert answers(dataset)["c.png"] == "không có"
        assert prompts(dataset) == {"<Img><ImageHere></Img> [detection] tìm cat, dog, chó con "}

    def test_one_category_a_sample(self, tmp_path):
        dataset = open_objects(write_coco(tmp_path), reader="coco", per="category")
        found = [(s.picture, *(t for t in s.turns)) for s in dataset.described()]
        assert [(name, turn.instruction[22:], turn.answer) for name, turn in found] == [
            ("a.jpg", " [detection] dog ", "<p>dog</p>{<10><50><30><90>}"),
            ("a.jpg", " [detection] cat ",
             "<p>cat</p>{<5><10><25><40>}<delim>{<50><20><75><60>}"),
            ("b.jpg", " [detection] chó con ", "<p>chó con</p>{<0><0><100><100>}"),
        ]  # fmt: skip
        assert len({s.id for s in dataset.described()}) == 3

    def test_some_classes_only_and_in_their_order(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        dataset = open_objects(write_coco(tmp_path), reader="coco", classes=["dog", "cat"])
        assert answers(dataset)["a.jpg"].startswith("<p>dog</p>")
        assert answers(dataset)["b.jpg"] == "none"
        assert "1 objects of classes that are not asked for are left out (chó con)" in caplog.text

    def test_bad_boxes_are_named_or_counted(self, tmp_path, caplog):
        path = write_coco(tmp_path)
        content = json.loads(path.read_text(encoding="utf-8"))
        content["annotations"][0]["bbox"] = [20, 50, 0, 40]
        content["annotations"][1]["bbox"] = [190, 20, 50, 40]
        write_json(path, content)
        with pytest.raises(DataError, match=r"row 0: the box .*no area.*on_bad_row=skip"):
            open_objects(path, reader="coco")
        dataset = open_objects(path, reader="coco", on_bad_row="skip")
        assert answers(dataset)["a.jpg"] == (
            "<p>cat</p>{<5><10><25><40>}<delim>{<95><20><100><60>}"
        )
        assert "1 objects cannot be used" in caplog.text
        assert "1 boxes reach beyond their picture" in caplog.text

    def test_a_json_list_in_pixels_is_told_from_hundredths(self, tmp_path):
        write_picture(tmp_path / "a.png", 0, (400, 300))
        rows = [{"image": "a.png", "boxes": [[10, 20, 300, 200]], "classes": ["x"]}]
        with pytest.raises(DataError, match="box_form: pixels_xyxy"):
            open_objects(write_json(tmp_path / "x.json", rows))
        dataset = open_objects(
            write_json(tmp_path / "x.json", [{**rows[0], "box_form": "pixels_xyxy"}])
        )
        assert answers(dataset)["a.png"] == "<p>x</p>{<2><7><75><67>}"

    def test_files_that_are_not_coco(self, tmp_path):
        with pytest.raises(DataError, match="reader: json"):
            open_objects(write_json(tmp_path / "x.json", []), reader="coco")
        content = {"images": [{"id": 1}], "annotations": []}
        with pytest.raises(DataError, match="file_name"):
            open_objects(write_json(tmp_path / "x.json", content), reader="coco")
        one = {"image_id": 5, "category_id": 1, "bbox": [0, 0, 1, 1]}
        content = {"images": [], "annotations": [one], "categories": [{"id": 1, "name": "x"}]}
        with pytest.raises(DataError, match="image_id 5"):
            open_objects(write_json(tmp_path / "x.json", content), reader="coco")
        content["images"] = [{"id": 5, "file_name": name} for name in "ab"]
        with pytest.raises(DataError, match="several pictures in images have the id 5"):
            open_objects(write_json(tmp_path / "x.json", content), reader="coco")

    def test_a_validation_share_holds_out_whole_pictures(self, tmp_path):
        rows = []
        for i in range(60):
            write_picture(tmp_path / f"images/{i}.png", i)
            rows.append({"image": f"{i}.png", "boxes": [[0, 0, 50, 50 + i % 5]], "classes": ["x"]})
        path = write_json(tmp_path / "x.json", rows)
        info = {"val_share": 0.3}
        train = {s.picture for s in open_objects(path, **info).described()}
        settings = EvalDatasetSettings(kind="detection", eval_file_path=str(path), build_info=info)
        held = build_eval_dataset("mine", settings, vis_processor=pixels)
        val = {s.picture for s in held.described()}
        assert train.isdisjoint(val) and len(train | val) == 60
        assert 8 <= len(val) <= 30


def test_captions_of_coco(tmp_path):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["annotations"] = [{"id": 1, "image_id": 1, "caption": "một con chó"}]
    write_json(path, content)
    dataset = open_train("mine", path, None, kind="caption", reader="coco")
    assert answers(dataset) == {"b.jpg": "một con chó"}


def test_masks_are_read_as_they_are(tmp_path):
    from test_prepare_mvtec import write_mask

    for i in range(3):
        write_picture(tmp_path / f"tile/train/good/{i}.png", i, (100, 50))
        write_picture(tmp_path / f"tile/test/cut/{i}.png", 10 + i, (100, 50))
        write_mask(tmp_path / f"tile/ground_truth/cut/{i}_mask.png", (10, 10, 30, 20))
    dataset = open_train("mine", tmp_path, None, kind="detection", reader="masks")
    found = [s.turns[0].answer for s in (dataset[i] for i in range(len(dataset)))]
    assert (
        sorted(found)
        == ["<p>tile-defect</p>{<10><20><30><40>}"] * 3
        + ["<p>tile-not-defect</p>{<0><0><100><100>}"] * 3
    )
