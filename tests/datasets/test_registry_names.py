"""Every registry name on a small file in its true format: exact texts, a batch, a loss."""

import io
import pickle
import pickletools
from pathlib import Path

import pytest
import torch
from conftest import vivqa_rows, write_csv, write_json, write_picture
from made_annotations import NAMES, write
from tiny_model import IMAGE_SIZE, tiny_model

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.registry import registry
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.base import Draw
from minigpt4.datasets.builders import MVTECADBuilder, ViVQABuilder, make_builder
from minigpt4.datasets.collate import collate

PROCESSORS = {"train": {"name": "blip2_image_train", "image_size": IMAGE_SIZE}}
IMAGE = "<Img><ImageHere></Img>"
SHORT = "[vqa] Based on the image, respond to this question with a short answer:"
BOX = "{<10><30><60><80>}"

EXPECTED = {
    # name: (samples, one of the first sample's instructions, its answers)
    "coco_vqa": (2, f"{IMAGE} {SHORT} where is he looking? ", {"down", "at table", "skateboard"}),
    "ok_vqa": (2, f"{IMAGE} [vqa] where is he looking? ", {"down", "at table", "skateboard"}),
    "aok_vqa": (
        1,
        f"{IMAGE} [vqa] what is the man by the bags awaiting? ",
        {"ride", "bus", "taxi"},
    ),
    "gqa": (1, f"{IMAGE} [vqa] is it overcast? ", {"no"}),
    "ocrvqa": (4, f"{IMAGE} {SHORT} who wrote this book? ", {"sandra boynton"}),
    "coco_caption": (
        1,
        f"{IMAGE} [caption] write a short caption. ",
        {"a woman wearing a net cutting a cake"},
    ),
    "textcaps_caption": (1, f"{IMAGE} [caption] write a short caption. ", {"a copy of the book"}),
    "cc_sbu_align": (
        1,
        f"{IMAGE} [caption] describe this picture in detail. ",
        {"The image shows a Man. " + ("word " * 60).strip()},
    ),
    "refcoco": (
        3,
        f"{IMAGE} [refer] give me the location of the lady with the blue shirt ",
        {BOX},
    ),
    "invrefcoco": (3, f"{IMAGE} [identify] what is in {BOX}? ", {"the lady with the blue shirt"}),
    "refvg": (
        2,
        f"{IMAGE} [refer] give me the location of shoes on the floor ",
        {"{<10><10><40><50>}"},
    ),
    "flickr_grounded_caption": (
        1,
        f"{IMAGE} [grounding] what does the picture show, and where? ",
        {"<p>Two young guys</p> {<1><2><30><40>}<delim>{<5><6><7><8>} are."},
    ),
    "flickr_CaptionToPhrase": (
        1,
        f"{IMAGE} [detection] Two young guys are outside ",
        {"<p>Two young guys</p> {<1><2><30><40>}<delim>{<5><6><7><8>}"},
    ),
    "flickr_ObjectToPhrase": (
        1,
        f"{IMAGE} [detection] Two young guys ",
        {"<p>Two young guys</p> {<1><2><30><40>}<delim>{<5><6><7><8>}"},
    ),
    "llava_conversation": (
        1,
        f"{IMAGE} What are the Colors of the bus? ",
        {"The bus is white and red."},
    ),
    "llava_detail": (1, f"{IMAGE} what are the colors of the bus? ", {"The bus is white and red."}),
    "unnatural_instruction": (2, "Name the capital. Country: France One word.", {"Paris."}),
}
EXPECTED["refcocop"] = EXPECTED["refcocog"] = EXPECTED["refcoco"]
EXPECTED["invrefcocop"] = EXPECTED["invrefcocog"] = EXPECTED["invrefcoco"]
EXPECTED["multitask_conversation"] = EXPECTED["llava_conversation"]
EXPECTED["llava_reason"] = EXPECTED["llava_detail"]


def builder(name, build_info, **settings):
    return registry.get_builder_class(name)(
        DatasetSettings(vis_processor=PROCESSORS, build_info=build_info, **settings)
    )


def open_name(name, folder, **info):
    return builder(name, {**write(name, folder), **info}).build_split("train")


@pytest.mark.parametrize("name", NAMES)
def test_texts_batch_and_loss(name, tmp_path):
    dataset = open_name(name, tmp_path)
    count, instruction, answers = EXPECTED[name]
    assert len(dataset) == count
    drawn = [dataset[Draw(0, salt)].turns for salt in range(60)]
    assert instruction in {turns[0].instruction for turns in drawn}
    assert {turns[0].answer for turns in drawn} == answers

    model = tiny_model()
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert ("image" in batch) == (name != "unnatural_instruction")
    loss = model(batch)["loss"]
    assert torch.isfinite(loss) and loss > 0
    loss.backward()
    grad = model.llama_proj.weight.grad
    assert (grad is not None and bool(grad.abs().sum() > 0)) == (name != "unnatural_instruction")
    model.zero_grad(set_to_none=True)


def test_every_name_of_the_original_has_a_builder():
    streamed = {"cc_sbu", "laion", "grit"}
    assert {*NAMES, *streamed, "vivqa", "mvtec_ad"} <= set(registry.names("builder"))
    assert registry.get_builder_class("vivqa") is ViVQABuilder
    assert registry.get_builder_class("mvtec_ad") is MVTECADBuilder


class TestAnswers:
    def test_answers_are_drawn_as_often_as_they_were_given(self, tmp_path):
        dataset = open_name("coco_vqa", tmp_path)
        drawn = [dataset[Draw(0, salt)].turns[0].answer for salt in range(400)]
        assert 150 < drawn.count("down") < 250  # two of four
        assert 60 < drawn.count("skateboard") < 140

    def test_all_turns_or_the_first(self, tmp_path):
        turns = open_name("llava_conversation", tmp_path / "a")[0].turns
        assert [turn.answer for turn in turns] == ["The bus is white and red.", "An advertisement."]
        assert turns[1].instruction == "What feature is on the back? "
        assert len(open_name("llava_reason", tmp_path / "b")[0].turns) == 1

    def test_a_missing_constraint_leaves_no_trace(self, tmp_path):
        turn = open_name("unnatural_instruction", tmp_path)[1].turns[0]
        assert turn.instruction == "Name the capital. Country: France"
        assert turn.answer == "Paris"


class TestPictures:
    def test_covers_have_the_ending_of_their_address(self, tmp_path):
        dataset = open_name("ocrvqa", tmp_path)
        assert [dataset[i].picture for i in range(4)] == ["761183272.jpg"] * 2 + ["B00X.gif"] * 2

    def test_names_alone_or_with_the_folders_that_the_annotations_name(self, tmp_path):
        info = write("coco_vqa", tmp_path)
        assert open_name("coco_vqa", tmp_path)[0].picture == "COCO_val2014_000000262148.jpg"
        for split in ("train", "val"):
            (tmp_path / f"images/{split}2014").mkdir()
            for file in (tmp_path / "images").glob(f"COCO_{split}*"):
                file.rename(tmp_path / f"images/{split}2014" / file.name)
        dataset = builder("coco_vqa", info).build_split("train")
        assert dataset[0].image_path.endswith("images/val2014/COCO_val2014_000000262148.jpg")

    def test_both_folders_of_visual_genome(self, tmp_path):
        dataset = open_name("refvg", tmp_path)
        assert [dataset[i].picture for i in range(2)] == ["VG_100K_2/1.jpg", "VG_100K/2.jpg"]


class TestBoxes:
    def test_every_sentence_of_a_reference_is_a_sample(self, tmp_path):
        dataset = open_name("refcoco", tmp_path)
        phrases = ["THE lady with the blue shirt", "lady", "man in back"]
        assert [dataset[i].meta["phrase"] for i in range(3)] == phrases
        assert dataset[1].turns[0].answer == BOX
        assert dataset[2].turns[0].answer == "{<0><5><15><26>}"  # y: 5.4 and 25.5

    def test_other_splits_are_in_the_same_files(self, tmp_path):
        of_names = builder("refcoco", write("refcoco", tmp_path))
        assert [s.meta["phrase"] for s in of_names.build_split("testA").described()] == ["man"]
        with pytest.raises(DataError, match=r"no split 'val' \(it has testA, train\)"):
            of_names.build_split("val")
        covers = builder("ocrvqa", write("ocrvqa", tmp_path / "o"))
        assert [covers.build_split("val")[i].picture for i in range(2)] == ["123.jpg"] * 2

    def test_regions_without_area_are_counted_and_large_ones_left_out(self, tmp_path, caplog):
        dataset = open_name("refvg", tmp_path)
        assert "1 of 3 annotations cannot be used and are left out" in caplog.text
        assert "has no area" in caplog.text
        assert "1 boxes reach beyond their picture" in caplog.text
        assert dataset[1].turns[0].answer == "{<95><90><100><100>}"  # 190 to 210 of 200
        with pytest.raises(DataError, match=r"1 of 3 annotations .* no area .*on_bad_row=skip"):
            open_name("refvg", tmp_path, on_bad_row="error")

    def test_sizes_come_from_the_pictures_where_rows_have_none(self, tmp_path):
        write_picture(tmp_path / "a.jpg", 0, (50, 200))
        path = write_json(
            tmp_path / "a.json", [{"image": "a.jpg", "phrase": "x", "bbox": [5, 20, 20, 100]}]
        )
        info = {"ann_path": str(path), "image_path": str(tmp_path), "box_form": "pixels_xywh"}
        settings = DatasetSettings(kind="grounding", vis_processor=PROCESSORS, build_info=info)
        sample = make_builder("mine", settings).build_split("train")[0]
        assert sample.turns[0].answer == "{<10><10><50><60>}"
        assert sample.meta["boxes_px"] == [[5, 20, 25, 120]]


class TestOldFiles:
    """Both forms of ``build_info``; the user's wins over the default in either."""

    def test_the_nested_form(self, tmp_path):
        info = write("coco_vqa", tmp_path)
        nested = {
            "annotations": {"train": {"url": ["https://x/y"], "storage": info["ann_path"]}},
            "images": {"storage": info["image_path"]},
        }
        assert len(builder("coco_vqa", nested).build_split("train")) == 2

    @pytest.mark.parametrize("name", ["vivqa", "refcoco"])
    def test_the_nested_form_where_the_original_has_the_short_one(self, tmp_path, name):
        if name == "vivqa":
            for row in vivqa_rows(2):
                write_picture(tmp_path / f"{row['img_id']:012d}.jpg", 0)
            ann, images = write_csv(tmp_path / "t.csv", vivqa_rows(2)), tmp_path
        else:
            ann, images = write(name, tmp_path).values()
        nested = {
            "annotations": {"train": {"storage": str(ann)}},
            "images": {"storage": str(images)},
        }
        assert len(builder(name, nested).build_split("train")) > 1

    def test_the_reversed_data_set_may_be_called_so(self, tmp_path):
        dataset = open_name("invrefcoco", tmp_path, dataset="invrefcoco", splitBy="unc")
        assert len(dataset) == 3

    def test_through_a_config(self, tmp_path):
        import argparse

        import yaml

        from minigpt4.common.config import Config

        entry = {"build_info": {"data_dir": "/gone/vg"}, "batch_size": 2}
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({"datasets": {"refvg": entry, "llava_reason": {}}}))
        cfg = Config(argparse.Namespace(cfg_path=str(path), options=[]))
        assert cfg.dataset("refvg").kind == "refer"
        nested = cfg.dataset("refvg").build_info["annotations"]["train"]["storage"]
        assert nested == cfg.dataset("refvg").build_info["images"]["storage"] == "/gone/vg"
        with pytest.raises(DataError, match=r"no annotation folder /gone/vg"):
            make_builder("refvg", cfg.dataset("refvg")).build_split("train")
        assert cfg.dataset("llava_reason").build_info["turns"] == 1


class TestMistakes:
    def test_a_pickle_with_code_is_refused(self, tmp_path):
        class Attack:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        info = write("refcoco", tmp_path)
        file = Path(info["ann_path"]) / "refcoco" / "refs(unc).p"
        file.write_bytes(pickle.dumps([Attack()]))
        with pytest.raises(DataError, match=r"refs\(unc\)\.p is refused: .*pathlib\.Path"):
            builder("refcoco", info).build_split("train")
        assert not (tmp_path / "ran").exists()
        file.write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
        with pytest.raises(DataError, match=r"it names os\.system"):
            builder("refcoco", info).build_split("train")

    def test_a_damaged_pickle_is_named(self, tmp_path):
        info = write("refcoco", tmp_path)
        file = Path(info["ann_path"]) / "refcoco" / "refs(unc).p"
        whole = file.read_bytes()
        for broken in (b"", whole[:-40], b"\x80\x04]\x94." + b"x", b"not a pickle"):
            file.write_bytes(broken)
            if broken[:1] == b"\x80":
                continue  # an empty list: no references, said elsewhere
            with pytest.raises(DataError, match=r"refs\(unc\)\.p"):
                builder("refcoco", info).build_split("train")

    def test_pickles_of_python_2_are_read(self, tmp_path):
        info = write("refcoco", tmp_path)
        file = Path(info["ann_path"]) / "refcoco" / "refs(unc).p"
        out = io.StringIO()
        pickletools.dis(file.read_bytes(), out=out)
        assert "UNICODE" in out.getvalue()  # protocol 0
        # Python 2 writes its byte strings as STRING.
        file.write_bytes(file.read_bytes().replace(b"Vtrain\n", b"S'train'\n", 1))
        assert len(builder("refcoco", info).build_split("train")) == 3

    def test_missing_files_of_a_folder_are_named(self, tmp_path):
        info = write("refcocog", tmp_path)
        (Path(info["ann_path"]) / "refcocog" / "instances.json").unlink()
        with pytest.raises(DataError, match=r"no .*refcocog/instances\.json; unpack refcocog\.zip"):
            builder("refcocog", info).build_split("train")
        vg = write("refvg", tmp_path / "vg")
        (tmp_path / "vg/image_data.json").unlink()
        with pytest.raises(DataError, match=r"no image_data\.json"):
            builder("refvg", vg).build_split("train")

    def test_answers_that_do_not_match_the_questions(self, tmp_path):
        cover = {"imageURL": "x.jpg", "split": 1, "questions": ["a", "b"], "answers": ["a"]}
        path = write_json(tmp_path / "d.json", {"k": cover})
        with pytest.raises(DataError, match="k has 2 questions and 1 answers"):
            builder("ocrvqa", {"ann_path": str(path)}).build_split("train")

    @pytest.mark.parametrize(
        ("turns", "message"),
        [
            (["a"], "no question and answer"),
            (["a", "b", "c"], "the last of its 3 turns has no answer"),
            (["a", "b!@#", "c", "d"], "separates turns"),
        ],
    )
    def test_conversations_must_be_whole(self, tmp_path, turns, message):
        info = write("llava_conversation", tmp_path)
        talk = [{"from": ("human", "gpt")[i % 2], "value": v} for i, v in enumerate(turns)]
        row = {"id": "000000033471", "conversations": talk}
        info["ann_path"] = str(write_json(tmp_path / "x.json", [row]))
        with pytest.raises(DataError, match=message):
            builder("llava_conversation", info).build_split("train")

    def test_a_model_that_speaks_first(self, tmp_path):
        info = write("llava_conversation", tmp_path)
        talk = [{"from": who, "value": "x"} for who in ("gpt", "human")]
        row = {"id": "000000033471", "conversations": talk}
        info["ann_path"] = str(write_json(tmp_path / "x.json", [row]))
        with pytest.raises(DataError, match="turn 0 is from gpt"):
            builder("llava_conversation", info).build_split("train")

    def test_an_instruction_without_an_output(self, tmp_path):
        instance = {"instruction_with_input": "x", "constraints": None, "output": ""}
        rows = [{"instances": [instance]}, {"instances": []}]
        path = write_json(tmp_path / "u.json", rows)
        with pytest.raises(DataError, match=r"2 of 2 annotations.*nothing is left.*cannot be"):
            builder("unnatural_instruction", {"ann_path": str(path)}).build_split("train")

    def test_an_option_that_the_reader_does_not_know(self, tmp_path):
        with pytest.raises(ConfigError, match=r"area is unknown to this reader .*below_area"):
            open_name("refvg", tmp_path, reader_options={"area": 3})
