import pytest
from PIL import Image

from minigpt4.conversation.prompts import MVTEC_PROMPT
from minigpt4.serve import words
from minigpt4.serve.app import shown_messages
from minigpt4.serve.engine import AnswerOptions
from minigpt4.serve.visit import Desk, Visit

OPTIONS = AnswerOptions()


@pytest.fixture
def desk(engine, tmp_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    return Desk(engine, folder)


def _ask(desk, visit, tag, text):
    """Text of each message that the question added."""
    before = len(visit.messages)
    for now in desk.ask(visit, tag, text, OPTIONS):
        assert now is visit
    return [message["content"] for message in visit.messages[before:]]


def test_a_question_and_its_answer_are_shown(desk, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    assert visit.messages == []
    assert _ask(desk, visit, "[vqa]", "Sáng hay tối?") == ["[vqa] Sáng hay tối?", "ảnh sáng"]
    assert [message["role"] for message in visit.messages] == ["user", "assistant"]


def test_the_answer_grows_on_the_page(desk, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    seen = [now.messages[-1]["content"] for now in desk.ask(visit, "[vqa]", "gì", OPTIONS)]
    assert seen[0] == words.WAITING
    assert len(set(seen)) > 4
    assert seen[-1] == "ảnh sáng"


def test_a_typed_tag_goes_before_the_chosen_one(desk, model, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    _ask(desk, visit, "[vqa]", "[refer] con mèo")
    assert "[refer] con mèo" in model.asked[-1][0] and "[vqa]" not in model.asked[-1][0]


def test_the_check_for_defects_draws_the_box_with_its_label(desk, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    list(desk.check(visit, OPTIONS))
    question, answer, drawn = (message["content"] for message in visit.messages)
    assert question == MVTEC_PROMPT
    assert answer == "<p>bình bị nứt</p>{<10><20><40><50>}"
    with Image.open(drawn["path"]) as picture:
        assert picture.size == (600, 300)
        assert picture.getpixel((60, 135)) != (255, 255, 255)


def test_boxes_that_cannot_be_drawn_are_counted(desk, model, pictures, monkeypatch):
    monkeypatch.setattr("toy_model.DEFECT", "<p>x</p>{<1><2><3>} {<1><2><3><400>}")
    visit = desk.new_picture(str(pictures["bright"]))
    assert _ask(desk, visit, "[detection]", "x")[-1].endswith(words.bad_boxes(2))


def test_a_task_without_words_has_a_default_where_that_makes_sense(desk, model, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    _ask(desk, visit, "[caption]", "  ")
    assert f"[caption] {words.DEFAULTS['[caption]']}" in model.asked[-1][0]
    assert _ask(desk, visit, "[vqa]", " ") == [f"⚠ {words.EMPTY}"]
    assert _ask(desk, visit, "", "") == [f"⚠ {words.EMPTY}"]


def test_a_question_without_a_picture_is_answered_in_the_conversation(desk, model):
    said = _ask(desk, Visit(), "[vqa]", "màu gì")
    assert said == ["[vqa] màu gì", f"⚠ {words.NO_PICTURE}"]
    assert model.asked == []


@pytest.mark.parametrize("name", ["text", "cut"])
def test_a_broken_picture_is_explained(desk, pictures, name):
    visit = desk.new_picture(str(pictures[name]))
    assert visit.messages[-1]["content"] == f"⚠ {words.BROKEN_PICTURE}"
    assert visit.session.image is None


def test_a_new_picture_and_a_new_chat_forget_the_turns(desk, model, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    _ask(desk, visit, "[vqa]", "một")
    fresh = desk.new_chat(visit)
    assert fresh.messages == [] and fresh.session.turns == []
    assert fresh.session.positions == visit.session.positions > 0
    assert _ask(desk, fresh, "", "hai")[-1] == "ảnh sáng"
    assert len(model.asked[-1]) == 1, "a talk without a tag begins anew"
    assert model.encoded == 1, "a new chat keeps the encoded picture"
    other = desk.new_picture(str(pictures["dark"]))
    assert _ask(desk, other, "", "ba")[-1] == "ảnh tối"
    assert len(model.asked[-1]) == 1
    _ask(desk, other, "", "bốn")
    assert len(model.asked[-1]) == 3


def test_stopping_keeps_what_was_said_and_says_so(desk, model, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    stream = desk.ask(visit, "[vqa]", "gì", OPTIONS)
    while visit.messages == [] or visit.messages[-1]["content"] in (words.WAITING, ""):
        next(stream)
    said = visit.messages[-1]["content"]
    desk.stop(visit)
    stream.close()
    assert visit.messages[-1]["content"] == f"{said} {words.STOPPED}"
    assert visit.session.turns == []
    assert not model.running.is_set()


def test_a_defect_of_the_program_is_not_shown_but_logged(desk, pictures, caplog):
    visit = desk.new_picture(str(pictures["bright"]))
    with caplog.at_level("ERROR", logger="minigpt4"):
        assert _ask(desk, visit, "[vqa]", "crash")[-1] == f"⚠ {words.DEFECT}"
    assert "a defect of the program" in caplog.text
    assert _ask(desk, visit, "[vqa]", "gì")[-1] == "ảnh sáng"


def test_running_out_of_memory_is_named(desk, model, pictures, monkeypatch):
    def full(**_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(model, "generate_scored", full)
    visit = desk.new_picture(str(pictures["bright"]))
    assert _ask(desk, visit, "[vqa]", "gì")[-1] == f"⚠ {words.OUT_OF_MEMORY}"


def test_two_clicks_mark_a_region(desk, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    assert desk.click(visit, 150, 80) is None
    assert desk.click(visit, 50, 20) == "[identify] {<25><20><75><80>}"
    assert visit.corner is None
    assert desk.click(Visit(), 1, 1) is None


def test_what_looks_like_html_is_shown_as_it_is(desk, pictures):
    visit = desk.new_picture(str(pictures["bright"]))
    _ask(desk, visit, "[vqa]", "<b>gì</b> & sao")
    shown = shown_messages(visit)
    assert shown[0]["content"] == "[vqa] &lt;b&gt;gì&lt;/b&gt; &amp; sao"
    assert visit.messages[0]["content"] == "[vqa] <b>gì</b> & sao"
