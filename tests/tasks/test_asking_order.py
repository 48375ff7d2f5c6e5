"""The order in which samples are asked: by picture, then by length; and what is made of it."""

from types import SimpleNamespace

import torch
from scripted import ScriptedModel, generation, write_vivqa

from minigpt4.common.config import Config
from minigpt4.datasets.schema import Sample, Turn
from minigpt4.tasks.evaluate import evaluate
from minigpt4.tasks.rounds import asking_order


def sample(picture: str, instruction: str) -> Sample:
    return Sample(id="", turns=[Turn(instruction, "")], picture=picture)


def test_pictures_together_then_by_their_longest_question():
    samples = [
        sample("a", "a long question about a"),
        sample("b", "short"),
        sample("c", "of middle length"),
        sample("b", "a"),
        sample("a", "a?"),
        sample("d", "small"),
    ]
    assert asking_order(samples) == [3, 1, 5, 2, 4, 0]


def test_samples_without_a_picture_stand_alone():
    assert asking_order([sample("", "longer"), sample("", "long"), sample("x", "l")]) == [2, 1, 0]


class Echo(ScriptedModel):
    """Answers with its prompt and picture, and notes which pictures it was given."""

    def __init__(self) -> None:
        super().__init__([])
        self.given: list[int] = []

    def generate_scored(self, images=None, texts=(), *, picture_of=None, **options):
        self.given.append(len(images))
        images = images if picture_of is None else images[list(picture_of)]
        return [
            generation(f"{text.split(': ')[1]} {float(image.sum()):.3f}")
            for text, image in zip(texts, images, strict=True)
        ]


def test_answers_come_back_to_their_samples(tmp_path):
    rows = [
        ("một câu hỏi rất dài về ảnh", "x", 1, 0),
        ("màu gì", "y", 2, 0),
        ("ở đâu", "z", 1, 3),
        ("con gì", "w", 3, 0),
    ]
    data = write_vivqa(tmp_path / "V", rows)
    config = tmp_path / "eval.yaml"
    config.write_text(
        f"""
model: {{arch: minigpt_v2, image_size: 8}}
evaluation_datasets:
  vivqa: {{eval_file_path: {data}, img_path: {data.parent / "images"}, batch_size: 4}}
run: {{save_path: {tmp_path / "out"}, device: cpu, bootstrap: 0}}
""",
        encoding="utf-8",
    )
    model = Echo()
    with torch.inference_mode():
        result = evaluate(
            Config(SimpleNamespace(cfg_path=str(config), options=[])), "vivqa", model=model
        )
    said = [each.answer for each in result.predictions]
    assert [answer.rpartition(" ")[0] for answer in said] == [
        f"{question}  [/INST]" for question, *_ in rows
    ]
    pictures = [answer.rpartition(" ")[2] for answer in said]
    assert pictures[0] == pictures[2]
    assert len(set(pictures)) == 3
    assert model.given == [3]  # four questions, one picture shared
