"""``blip_caption`` changes texts as the original did."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from minigpt4.common.registry import registry
from minigpt4.common.settings import ProcessorSettings
from minigpt4.processors import BlipCaptionProcessor

CASES = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "processors" / "blip_caption.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["input"][:20])
def test_text_is_the_originals(case):
    settings = {key: case[key] for key in ("prompt", "max_words") if key in case}
    assert BlipCaptionProcessor(**settings)(case["input"]) == case["output"]


def test_each_listed_sign_becomes_a_space_and_others_stay():
    assert BlipCaptionProcessor()('a.b!c"d(e)f*g#h:i;j~k') == "a b c d e f g h i j k"
    assert BlipCaptionProcessor()("a,b?c-d'e/f{g}h") == "a,b?c-d'e/f{g}h"


def test_cut_at_fifty_words():
    words = [f"w{number}" for number in range(60)]
    assert BlipCaptionProcessor()(" ".join(words)).split() == words[:50]


def test_empty_text_stays_empty():
    assert BlipCaptionProcessor()("") == ""
    assert BlipCaptionProcessor()(" .!\n") == ""


@pytest.mark.parametrize("make", [dict, OmegaConf.create, lambda d: ProcessorSettings(**d)])
def test_from_config_takes_every_form(make):
    cls = registry.get_processor_class("blip_caption")
    cut = cls.from_config(make({"name": "blip_caption", "max_words": 2, "prompt": "Q: "}))
    assert cut("One two three") == "Q: one two"
    assert cls.from_config(make({"name": "blip_caption"}))("One two three") == "one two three"


def test_fingerprint_depends_on_what_changes_the_text():
    assert BlipCaptionProcessor().fingerprint() == BlipCaptionProcessor().fingerprint()
    prints = {
        BlipCaptionProcessor(prompt, words).fingerprint()
        for prompt in ("", "a")
        for words in (1, 2)
    }
    assert len(prints) == 4
