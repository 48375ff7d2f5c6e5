import threading

import pytest
import torch

from minigpt4.conversation.streaming import BackgroundAnswer, StoppedError, TokenStreamer


def test_texts_come_in_order_and_the_result_after_them():
    def work(tell):
        for text in ("", "a", "a", "ab"):
            tell(text)
        return 7

    background = BackgroundAnswer(work)
    assert list(background) == ["a", "ab"]
    assert background.result == 7


def test_an_error_is_raised_where_the_texts_are_read():
    def work(tell):
        tell("a")
        raise ValueError("broken")

    texts = iter(BackgroundAnswer(work))
    assert next(texts) == "a"
    with pytest.raises(ValueError, match="broken"):
        next(texts)


def test_stopping_ends_the_work_at_what_it_tells_next():
    told, go_on, seen = threading.Event(), threading.Event(), []

    def work(tell):
        tell("a")
        told.set()
        go_on.wait(timeout=10)
        try:
            tell("ab")
        except StoppedError:
            seen.append("stopped")
            raise
        seen.append("went on")

    background = BackgroundAnswer(work)
    assert told.wait(timeout=10)
    stopper = threading.Thread(target=background.stop)
    stopper.start()
    while not background._stopped.is_set():
        pass
    go_on.set()
    stopper.join(timeout=10)
    assert not stopper.is_alive() and seen == ["stopped"]
    assert list(background) == ["a"]


def test_tokens_become_the_text_so_far_and_the_prompt_is_passed_over():
    texts = []
    streamer = TokenStreamer(lambda ids: "".join(map(chr, ids)), texts.append)
    streamer.put(torch.tensor([[1, 2, 3]]))
    for letter in "mèo":
        streamer.put(torch.tensor([ord(letter)]))
    streamer.end()
    assert texts == ["m", "mè", "mèo"]
