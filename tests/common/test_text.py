"""Answers that look the same compare as equal."""

import unicodedata

import pytest

from minigpt4.common.text import normalize


@pytest.mark.parametrize("word", ["màu xanh dương", "Đường phố", "ẤẮỆỢỮ", "hai con chó"])
def test_composed_and_decomposed_letters_are_equal(word):
    composed, decomposed = (unicodedata.normalize(form, word) for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert normalize(composed) == normalize(decomposed) == composed.lower()


def test_case_and_white_space_do_not_count():
    assert normalize("  Màu\tĐỎ \n") == "màu đỏ"
    assert normalize("màu\u00a0đỏ") == "màu đỏ"


def test_tones_and_punctuation_count():
    assert normalize("ma") != normalize("má")
    assert normalize("hai") != normalize("hai.")
    assert normalize("") == ""
