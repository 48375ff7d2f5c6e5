"""Lengths, cuts and masks are those of training."""

import argparse

import pytest
from made_sets import (
    TINY_LLM,
    codes,
    draw,
    entry,
    examined,
    finding,
    vivqa_pictures,
    write_config,
    write_csv,
    write_json,
)

from minigpt4.common.config import Config
from minigpt4.datasets.collate import collate
from minigpt4.doctor.tokens import Spelling, TokenCheck

pytestmark = pytest.mark.skipif(
    not (TINY_LLM / "tokenizer.model").is_file(), reason=f"{TINY_LLM} is not there"
)


@pytest.fixture
def questions(tmp_path):
    vivqa_pictures(tmp_path, (1,))
    rows = [("màu gì", "đỏ", 1), ("có mấy con mèo ở trên bàn", "màu xanh dương và vàng", 1)]
    return {"vivqa": entry(ann_path=str(write_csv(tmp_path / "train.csv", rows)))}


def conversation(folder):
    draw(folder / "1.jpg", 1)
    turns = [("human", "cái gì"), ("gpt", "con mèo"), ("human", "màu gì"), ("gpt", "màu đen")]
    rows = [{"id": "1", "conversations": [{"from": w, "value": t} for w, t in turns]}]
    path = write_json(folder / "turns.json", rows)
    return {"mine": {**entry(ann_path=str(path), image="{id}.jpg"), "kind": "conversation"}}


@pytest.mark.parametrize("longest", [64, 6])
@pytest.mark.parametrize("kind", ["questions", "conversation"])
def test_tokens_and_mask_are_those_that_the_model_trains_on(tmp_path, questions, kind, longest):
    from minigpt4.models.minigpt_v2 import MiniGPTv2

    datasets = questions if kind == "questions" else conversation(tmp_path)
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 7}
    path = write_config(
        tmp_path,
        datasets,
        max_txt_len=longest,
        vit_config=sizes,
        vit_weights="random",
        lora_r=0,
        vit_precision="fp32",
        llm_precision="fp32",
    )
    cfg = Config(argparse.Namespace(cfg_path=str(path), options=[]))
    model = MiniGPTv2.from_config(cfg.model_cfg)
    examination = examined(path)
    spelling = examination.spelling
    assert spelling.positions == 4  # 28 pixels, patches of 7, four tokens made one
    checkup = examination.checkups[0]
    records = checkup.patient.records
    for number, sample in checkup.patient.samples_at(checkup.facts.numbers.tolist()).items():
        whole = records[number]
        whole.turns = sample.turns  # training draws a wording; compare with the fixed one
        labels = model.prepare(collate([whole])).labels[0].tolist()
        shown = []
        for token in spelling.tokens(sample):
            shown += [None] * 4 if token.id is None else [token.id if token.in_loss else None]
        assert [None if label == -100 else label for label in labels] == shown
        answer = len(labels) - 1 - int(checkup.tokens.prompts[number])
        assert answer == min(int(checkup.tokens.answers[number]), longest)


def test_what_would_be_cut_is_listed(tmp_path, questions):
    path = write_config(tmp_path, questions, max_txt_len=5, max_context_len=40)
    examination = examined(path)
    lengths = examination.checkups[0].tokens
    assert lengths.answers[0] <= 5 < lengths.answers[1]
    assert lengths.prompts[0] <= 40 < lengths.prompts[1]
    assert [p.row for p in finding(examination, "answers_cut").places] == [1]
    assert [p.row for p in finding(examination, "prompts_cut").places] == [1]
    figures = examination.checkups[0].figures
    assert (figures["answers_cut"], figures["prompts_cut"]) == (1, 1)


def test_answers_that_an_evaluation_cannot_say(tmp_path, questions):
    path = tmp_path / "train.csv"
    tested = {"vivqa": {"eval_file_path": str(path), "max_new_tokens": 5}}
    examination = examined(write_config(tmp_path, evaluations=tested))
    assert [p.row for p in finding(examination, "answer_too_long_to_say").places] == [1]


def test_without_a_tokenizer_the_rest_is_checked(tmp_path, questions):
    examination = examined(write_config(tmp_path, questions, llama_model="./nowhere/llm"))
    said = finding(examination, "no_tokenizer")
    assert said.severity == "note"
    assert "./nowhere/llm" in said.summary
    assert examination.checkups[0].tokens is None
    assert codes(examination) == {"no_tokenizer"}


def test_lengths_do_not_depend_on_what_was_measured_before(tmp_path, questions):
    examination = examined(write_config(tmp_path, questions))
    checkup = examination.checkups[0]
    spelling: Spelling = examination.spelling
    again = TokenCheck(checkup.patient, spelling)
    samples = checkup.patient.samples_at([1, 0])
    for number in (1, 0):
        again.look(number, {}, samples[number])
    assert again.prompts.tolist() == checkup.tokens.prompts[::-1].tolist()
    assert again.answers.tolist() == checkup.tokens.answers[::-1].tolist()
