import pytest
import torch
from conftest import mvtec_rows, open_train, pixels, vivqa_rows, write_csv, write_json
from PIL import Image

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings, EvalDatasetSettings
from minigpt4.datasets.base import Draw
from minigpt4.datasets.builders import build_eval_dataset, make_builder

SHORT = "[vqa] Based on the image, respond to this question with a short answer: màu của vật 3?"


def evaluation(name, path, **settings):
    return build_eval_dataset(
        name, EvalDatasetSettings(eval_file_path=str(path), **settings), vis_processor=pixels
    )


class TestViVQA:
    def test_training_draws_one_of_two_prompts(self, vivqa):
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        seen = {dataset[Draw(3, salt)].turns[0].instruction for salt in range(20)}
        assert seen == {
            f"<Img><ImageHere></Img> {text} " for text in ("[vqa] màu của vật 3?", SHORT)
        }

    def test_what_is_drawn_depends_on_seed_row_and_pass_only(self, vivqa):
        first, again = (open_train("vivqa", vivqa / "train.csv", vivqa / "images") for _ in "ab")
        draws = [Draw(row, salt) for row in range(8) for salt in range(3)]
        assert [first[d].turns for d in draws] == [again[d].turns for d in reversed(draws)][::-1]

    def test_evaluation_has_fixed_wording_and_keeps_what_scoring_needs(self, vivqa):
        dataset = evaluation("vivqa", vivqa / "test.csv")
        sample = dataset[3]
        assert sample.turns[0].instruction == f"<Img><ImageHere></Img> {SHORT} "
        assert sample.turns[0].answer == sample.meta["answer"] == "màu đỏ 3"
        assert sample.meta["type"] == "3"
        assert sample.id == "3-3"
        assert len({dataset[i].id for i in range(len(dataset))}) == len(dataset) == 5

    def test_answers_are_composed(self, vivqa):
        decomposed = "ma\u0300u \u0111o\u0309"
        rows = [{**vivqa_rows()[0], "answer": decomposed}]
        write_csv(vivqa / "train.csv", rows)
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        assert dataset[0].turns[0].answer == "màu đỏ"

    def test_missing_pictures_are_counted_and_named_at_once(self, vivqa):
        for i in (2, 5):
            (vivqa / f"images/{i:012d}.jpg").unlink()
        with pytest.raises(DataError, match=r"2 of 8 pictures .*000000000002\.jpg") as error:
            open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        assert "000000000005.jpg" in str(error.value)

    def test_missing_pictures_can_be_left_out_of_training(self, vivqa, caplog):
        (vivqa / "images/000000000002.jpg").unlink()
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images", on_broken="skip")
        assert len(dataset) == 7
        assert "1 of 8 samples are left out" in caplog.text

    def test_rows_that_cannot_be_used_are_listed(self, vivqa):
        rows = vivqa_rows()
        rows[1]["img_id"], rows[4]["answer"], rows[6]["img_id"] = "", "", "x1"
        write_csv(vivqa / "train.csv", rows)
        with pytest.raises(DataError, match="3 of 8 annotations") as error:
            open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        for part in ("row 1: no picture name", "row 4: answer is empty", "row 6", "img_id='x1'"):
            assert part in str(error.value)

    def test_a_broken_picture_is_named_with_its_sample(self, vivqa):
        (vivqa / "images/000000000003.jpg").write_bytes(b"\xff\xd8 not a picture")
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
        with pytest.raises(DataError, match=r"vivqa.*row 3.*000000000003\.jpg.*on_broken=skip"):
            dataset[3]

    def test_a_broken_picture_can_be_skipped_in_training_and_is_reported(self, vivqa):
        (vivqa / "images/000000000003.jpg").write_bytes(b"\xff\xd8 not a picture")
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images", on_broken="skip")
        sample = dataset[3]
        assert sample.id == "4-4"
        assert "000000000003.jpg" in sample.meta["skipped"][0]

    def test_a_truncated_picture_is_refused(self, vivqa):
        path = vivqa / "images/000000000001.jpg"
        path.write_bytes(path.read_bytes()[:-80])
        with pytest.raises(DataError, match=r"000000000001\.jpg"):
            open_train("vivqa", vivqa / "train.csv", vivqa / "images")[1]

    def test_blank_pictures_need_no_files(self, vivqa, tmp_path):
        dataset = evaluation("vivqa", vivqa / "test.csv", img_path=str(tmp_path), blank=True)
        images = [dataset[i].image for i in range(5)]
        assert all(torch.equal(image, images[0]) for image in images)
        assert images[0].std() == 0
        assert len(dataset.image_paths()) == 1

    def test_limit(self, vivqa):
        assert len(evaluation("vivqa", vivqa / "test.csv", limit=2)) == 2

    def test_a_share_of_the_pictures_is_kept_for_validation(self, vivqa):
        rows = [{**row, "question": f"{row['question']} {k}"} for row in vivqa_rows() for k in "ab"]
        write_csv(vivqa / "train.csv", rows)
        info = {"ann_path": str(vivqa / "train.csv"), "image_path": str(vivqa / "images")}
        settings = DatasetSettings(build_info={**info, "val_share": 0.4})
        splits = make_builder("vivqa", settings).build_datasets()
        train, val = (set(splits[name].image_paths()) for name in ("train", "val"))
        assert train and val and not train & val
        assert len(splits["train"]) + len(splits["val"]) == 16
        assert splits["val"].training is False


class TestMVTec:
    def test_answers(self, mvtec):
        dataset = open_train("mvtec_ad", mvtec / "train_data.json", mvtec / "images")
        assert dataset[1].turns[0].answer == "<p>bottle-defect</p>{<10><20><30><41>}"
        assert dataset[2].turns[0].answer == "<p>bottle-not-defect</p>{<0><0><100><100>}"
        assert dataset[1].turns[0].instruction == (
            "<Img><ImageHere></Img> [detection] a defect or not-defect object and return the "
            "bounding boxes and its label. If not, bound around the object. "
        )

    def test_several_boxes(self, mvtec):
        rows = mvtec_rows(2)
        rows[1]["boxes"] = [[10, 20, 30, 41], [50, 50, 60, 60]]
        write_json(mvtec / "train_data.json", rows)
        dataset = open_train("mvtec_ad", mvtec / "train_data.json", mvtec / "images")
        assert dataset[1].turns[0].answer == (
            "<p>bottle-defect</p>{<10><20><30><41>}<delim>{<50><50><60><60>}"
        )

    def test_evaluation_keeps_what_scoring_needs(self, mvtec):
        dataset = evaluation("mvtec_ad", mvtec / "val_data.json")
        assert dataset[1].id == "bottle/test/cut/001.png"
        assert dataset[1].meta == mvtec_rows()[1]

    @pytest.mark.parametrize(
        "img_path", ["MVTEC_det/images", "MVTEC_det", "", "MVTEC_det/images/bottle"]
    )
    def test_pictures_are_found_from_any_sensible_root(self, mvtec, tmp_path, img_path):
        dataset = evaluation(
            "mvtec_ad",
            mvtec / "val_data.json",
            img_path=str(tmp_path / img_path) if img_path else "",
        )
        assert dataset[1].image_path.endswith("MVTEC_det/images/bottle/test/cut/001.png")

    def test_a_first_part_that_is_not_there_is_left_out_for_all(self, mvtec):
        rows = [{**row, "image_path": f"mvtec/{row['image_path']}"} for row in mvtec_rows()]
        write_json(mvtec / "train_data.json", rows)
        dataset = open_train("mvtec_ad", mvtec / "train_data.json", mvtec / "images")
        assert dataset[1].image is not None
        assert dataset[1].id == "mvtec/bottle/test/cut/001.png"

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            ([10, 20, 30], "four whole numbers"),
            ([10, 20, 30.5, 40], "four whole numbers"),
            ([10, 20, 130, 40], "0-100"),
            ([30, 20, 10, 40], "x1 < x2"),
            ([], "no box"),
        ],
    )
    def test_a_wrong_box_is_named(self, mvtec, box, message):
        rows = mvtec_rows()
        rows[3]["bbox"] = box
        write_json(mvtec / "train_data.json", rows)
        with pytest.raises(DataError, match=f"row 3: .*{message}"):
            open_train("mvtec_ad", mvtec / "train_data.json", mvtec / "images")

    def test_repeated_pictures_keep_ids_apart(self, mvtec):
        write_json(mvtec / "val_data.json", mvtec_rows(2) * 2)
        dataset = evaluation("mvtec_ad", mvtec / "val_data.json")
        assert len({dataset[i].id for i in range(4)}) == 4

    def test_is_broken_may_be_text(self, mvtec):
        write_csv(
            mvtec / "t.csv",
            [{"image_path": r["image_path"], "class": "x", "is_broken": "False", "bbox": ""}
             for r in mvtec_rows(2)],
        )  # fmt: skip
        dataset = evaluation("mine", mvtec / "t.csv", kind="detection")
        assert dataset[0].meta["is_broken"] is False


class TestOwnData:
    def test_questions_under_other_names(self, vivqa, tmp_path):
        path = write_csv(tmp_path / "q.csv", [{"cau": "Mấy con mèo?", "dap": "hai", "so": "a/7"}])
        (vivqa / "images/000000000007.jpg").rename(vivqa / "images/7.jpg")
        dataset = open_train(
            "mine",
            path,
            vivqa / "images",
            kind="vqa",
            image="{so}.jpg",
            image_name_only=True,
            fields={"question": "cau", "answer": "dap"},
            prompts=["[vqa] Hỏi: {question}"],
            process=[],
        )
        assert dataset[0].turns[0].instruction == "<Img><ImageHere></Img> [vqa] Hỏi: Mấy con mèo? "
        assert dataset[0].turns[0].answer == "hai"

    def test_one_of_several_answers_is_drawn(self, vivqa):
        path = write_json(
            vivqa / "a.json", [{"image": "000000000000.jpg", "question": "q", "answer": ["a", "b"]}]
        )
        dataset = open_train("mine", path, vivqa / "images", kind="vqa")
        assert {dataset[Draw(0, salt)].turns[0].answer for salt in range(20)} == {"a", "b"}

    def test_captions_and_grounded_captions(self, vivqa):
        image = "000000000000.jpg"
        path = write_json(vivqa / "c.json", [{"image": image, "caption": "Một ảnh."}])
        sample = open_train("mine", path, vivqa / "images", kind="caption")[0]
        assert sample.turns[0].answer == "một ảnh"
        assert sample.turns[0].instruction.startswith("<Img><ImageHere></Img> [caption] ")
        text = "<p>A cat</p> {<1><2><3><4>}"
        path = write_json(vivqa / "g.json", [{"image": image, "grounded_caption": text}])
        sample = open_train("mine", path, vivqa / "images", kind="caption", task="grounding")[0]
        assert sample.turns[0].answer == text
        assert "[grounding]" in sample.turns[0].instruction

    def test_a_phrase_and_its_box_both_ways(self, vivqa):
        row = {"image": "000000000000.jpg", "phrase": "hình tròn", "bbox": [1, 2, 30, 40]}
        path = write_json(vivqa / "r.json", [row])
        refer = open_train("mine", path, vivqa / "images", kind="grounding")[0].turns[0]
        assert refer.answer == "{<1><2><30><40>}"
        assert "[refer]" in refer.instruction and "hình tròn" in refer.instruction
        identify = open_train("mine", path, vivqa / "images", kind="grounding", task="identify")
        assert identify[0].turns[0].answer == "hình tròn"
        assert "{<1><2><30><40>}" in identify[0].turns[0].instruction

    def test_conversations_keep_their_turns(self, vivqa):
        turns = ["<image>\nWhat is it?", "A cat.", "What colour?", "Red."]
        talk = [{"from": "human" if i % 2 == 0 else "gpt", "value": t} for i, t in enumerate(turns)]
        row = {"id": "0", "image": "000000000000.jpg", "conversations": talk}
        path = write_json(vivqa / "l.json", [row])
        sample = open_train("mine", path, vivqa / "images", kind="conversation")[0]
        assert [(t.instruction, t.answer) for t in sample.turns] == [
            ("<Img><ImageHere></Img> What is it? ", "A cat."),
            ("What colour? ", "Red."),
        ]
        short = open_train("mine", path, vivqa / "images", kind="conversation", turns=1)
        assert len(short[0].turns) == 1

    def test_text_only(self, tmp_path):
        path = write_json(tmp_path / "t.json", [{"instruction": "một cộng một", "output": "hai"}])
        sample = open_train("mine", path, None, kind="conversation", image=None)[0]
        assert (sample.turns[0].instruction, sample.turns[0].answer) == ("một cộng một", "hai")
        assert sample.image is None and sample.image_path is None

    def test_nested_annotations_and_templates(self, tmp_path):
        row = {
            "instances": [{"instruction_with_input": "do", "constraints": "now", "output": "ok"}]
        }
        path = write_json(tmp_path / "t.json", [row])
        info = {
            "annotations": {"train": {"storage": [str(path)], "url": ["x"]}},
            "images": {"storage": str(tmp_path)},
            "image": None,
            "prompts": "{instances[0][instruction_with_input]} {instances[0][constraints]}",
            "answer": "{instances[0][output]}",
        }
        builder = make_builder("mine", DatasetSettings(kind="conversation", build_info=info))
        turn = builder.build_split("train")[0].turns[0]
        assert (turn.instruction, turn.answer) == ("do now", "ok")


class TestMistakes:
    def test_every_wrong_key_is_listed(self, vivqa):
        with pytest.raises(ConfigError, match="'ann_path'") as error:
            open_train("vivqa", vivqa / "train.csv", None, an_path="x", on_broken="ignore")
        assert "on_broken is 'ignore'" in str(error.value)

    def test_a_column_that_is_not_there_is_named_with_those_that_are(self, mvtec):
        with pytest.raises(DataError, match=r"no column 'img_id' \(it has image_path"):
            open_train(
                "vivqa",
                mvtec / "train_data.json",
                mvtec / "images",
                prompts="[vqa]",
                eval_prompt="[vqa]",
                answer="{class}",
            )

    def test_an_unknown_name_or_kind(self):
        with pytest.raises(ConfigError, match="did you mean 'vivqa'"):
            make_builder("vivq", DatasetSettings())
        with pytest.raises(ConfigError, match="did you mean 'caption'"):
            make_builder("mine", DatasetSettings(kind="captions"))

    def test_an_empty_evaluation_file(self):
        with pytest.raises(ConfigError, match=r"vivqa\.eval_file_path is empty"):
            evaluation("vivqa", "")


def test_any_picture_mode_becomes_rgb(vivqa):
    Image.new("LA", (9, 9), (100, 3)).save(vivqa / "images/x.png")
    Image.new("I;16", (9, 9), 40000).save(vivqa / "images/y.png")
    path = write_json(vivqa / "c.json", [{"image": f"{n}.png", "caption": n} for n in "xy"])
    dataset = open_train("mine", path, vivqa / "images", kind="caption")
    assert all(dataset[i].image.shape == (3, 16, 16) for i in range(2))
