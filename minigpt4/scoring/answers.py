"""How right a short answer is, from 0 to 1, by each of the usual measures.

``MEASURES`` maps the names that ``evaluation_datasets.<name>.metric`` takes to functions of an
answer and its references.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from minigpt4.common.text import normalize

ANLS_THRESHOLD = 0.5
"""Answers less similar than this are another answer, not a misspelt one."""
_AGREEING = 3  # so many people who gave an answer make it fully right

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_WITH_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_CONTRACTIONS = re.findall(
    r"\S+",
    """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll
you're you've
""",
)
# A word with one apostrophe left out is the same word.
_APOSTROPHES = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTIONS
    for place, character in enumerate(word)
    if character == "'"
}


def exact(answer: str, references: Sequence[str]) -> float:
    """1 if the answer equals a reference but for Unicode form, case and white space, else 0."""
    return float(normalize(answer) in {normalize(each) for each in references})


def vqa(answer: str, references: Sequence[str]) -> float:
    """The accuracy of the VQA challenge (Antol et al., VQA, 2015): how many people agree.

    The mean, over leaving out one person's reference at a time, of min(agreeing / 3, 1), after
    ``clean``. Two differences to the challenge's own script: references are cleaned as the answer
    is, also where all are equal, and an only reference counts like one of many equal ones.
    """
    cleaned = [clean(each) for each in references]
    agreeing = cleaned.count(clean(answer))
    if len(cleaned) == 1:
        return float(agreeing)
    with_one_less = min((agreeing - 1) / _AGREEING, 1.0) if agreeing else 0.0
    with_all = min(agreeing / _AGREEING, 1.0)
    others = len(cleaned) - agreeing
    return (agreeing * with_one_less + others * with_all) / len(cleaned)


def vizwiz(answer: str, references: Sequence[str]) -> float:
    """min(agreeing / 3, 1), as the original scores VizWiz; compared as ``exact`` does."""
    wanted = normalize(answer)
    return min(sum(normalize(each) == wanted for each in references) / _AGREEING, 1.0)


def anls(answer: str, references: Sequence[str]) -> float:
    """Normalized Levenshtein similarity to the nearest reference, 0 below the threshold of 0.5.

    Biten et al., Scene Text Visual Question Answering, 2019; its mean is the ANLS. Compared in NFC,
    so a letter with its marks is one character, without case and extra white space.
    """
    said = normalize(answer)
    best = max((_similarity(said, each) for each in set(map(normalize, references))), default=0.0)
    return best if best >= ANLS_THRESHOLD else 0.0


def token_f1(answer: str, references: Sequence[str]) -> float:
    """F1 of the words that answer and reference share, of the best reference.

    As in SQuAD (Rajpurkar et al., 2016), but no article is left out, for those are English.
    """
    said = _words(answer)
    return max((_f1(said, _words(each)) for each in set(references)), default=0.0)


MEASURES: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact,
    "vqa": vqa,
    "vizwiz": vizwiz,
    "anls": anls,
}


@lru_cache(maxsize=65536)
def clean(text: str) -> str:
    """Bring an answer to the form in which the VQA challenge compares answers.

    Punctuation is removed where it stands beside a space (or the text has a number with a comma)
    and becomes a space elsewhere; full stops go unless a digit follows; case, articles and extra
    white space do not count; number words up to ten become digits; a contraction that lacks an
    apostrophe gets it.

    Example:
        >>> clean("The two dogs, don't they?")
        "2 dogs don't they"
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    has_number = _DIGITS_WITH_COMMA.search(text) is not None
    punctuated = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in punctuated or f" {mark}" in punctuated
        text = text.replace(mark, "" if beside_space or has_number else " ")
    words = (_NUMBERS.get(word, word) for word in _FULL_STOP.sub("", text).lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: fewest insertions, deletions and replacements of one character."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right)),
            )
    return row[-1]


def _similarity(a: str, b: str) -> float:
    longest = max(len(a), len(b))
    if a == b:
        return 1.0
    if abs(len(a) - len(b)) > longest * (1 - ANLS_THRESHOLD):
        return 0.0  # below the threshold whatever the letters
    return 1.0 - edit_distance(a, b) / longest


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalize(text))


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return float(not said and not wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))
