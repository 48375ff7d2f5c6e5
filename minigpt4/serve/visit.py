"""What happens in the demo when a user does something; the page itself is in ``app``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from minigpt4.common.boxes import format_box, parse_boxes, px_to_percent
from minigpt4.common.errors import DataError, UserError, is_out_of_memory
from minigpt4.conversation.prompts import MVTEC_PROMPT, TAG_IDENTIFY
from minigpt4.serve import words
from minigpt4.serve.drawing import draw_boxes
from minigpt4.serve.engine import AnswerOptions, Engine, Session, split_tag

logger = logging.getLogger(__name__)

Message = dict[str, Any]
"""A line of the conversation as Gradio's chatbot takes it."""


@dataclass
class Visit:
    """One browser tab.

    Attributes:
        session: The picture and the turns.
        messages: What the conversation shows.
        pending: The message that an answer is being written into.
        corner: First corner of a region being marked, in pixels.
    """

    session: Session = field(default_factory=Session)
    messages: list[Message] = field(default_factory=list)
    pending: Message | None = None
    corner: tuple[int, int] | None = None


class Desk:
    """Serves the visits.

    Args:
        engine: Answers.
        folder: Where pictures with boxes are put.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    def new_picture(self, path: str | None) -> Visit:
        """Begin anew with a picture, or without one."""
        visit = Visit()
        if path is None:
            return visit
        try:
            visit.session = self._engine.open(path)
        except DataError as error:
            logger.info("refused a picture: %s", error)
            visit.messages.append(_notice(words.BROKEN_PICTURE))
        except Exception as error:
            visit.messages.append(_notice(_explain(error)))
        return visit

    def new_chat(self, visit: Visit) -> Visit:
        """Forget the turns and keep the picture."""
        return Visit(session=replace(visit.session, turns=[]))

    def check(self, visit: Visit, options: AnswerOptions) -> Iterator[Visit]:
        """Ask for defects in the words that the MVTec weights were trained with."""
        return self.ask(visit, "", MVTEC_PROMPT, options)

    def ask(self, visit: Visit, tag: str, text: str, options: AnswerOptions) -> Iterator[Visit]:
        """Answer a question.

        Args:
            visit: Who asks; it is changed.
            tag: The chosen task; a tag within the text goes before it.
            text: The question.
            options: How to answer.
        Yields:
            The visit each time it has something new to show.
        """
        typed_tag, typed = split_tag(text)
        tag = typed_tag or tag
        question = f"{tag} {typed or words.DEFAULTS.get(tag, '')}".strip()
        if question in ("", tag):
            visit.messages.append(_notice(words.EMPTY))
            yield visit
            return
        visit.messages.append({"role": "user", "content": question})
        if tag and visit.session.image is None:
            visit.messages.append(_notice(words.NO_PICTURE))
            yield visit
            return
        reply = visit.pending = {"role": "assistant", "content": words.WAITING}
        visit.messages.append(reply)
        yield visit
        try:
            for answer in self._engine.answer_stream(visit.session, question, options):
                if visit.pending is not reply:
                    return
                reply["content"] = answer
                yield visit
            if not answer_of(reply):
                reply["content"] = words.NO_ANSWER
            visit.messages += self._drawn(visit.session, reply["content"])
        except Exception as error:
            visit.messages[-1] = _notice(_explain(error))
        visit.pending = None
        yield visit

    def stop(self, visit: Visit) -> Visit:
        """Say in the conversation that the answer being written was cut short."""
        if visit.pending is not None:
            visit.pending["content"] = f"{answer_of(visit.pending)} {words.STOPPED}".strip()
            visit.pending = None
        return visit

    def click(self, visit: Visit, x: int, y: int) -> str | None:
        """Mark a region by two clicks; the second one returns the region as a question."""
        image = visit.session.image
        if image is None or visit.corner is None:
            visit.corner = None if image is None else (x, y)
            return None
        (x1, y1), visit.corner = visit.corner, None
        corners = (min(x, x1), min(y, y1), max(x, x1), max(y, y1))
        box = px_to_percent(corners, width=image.width, height=image.height)
        return f"{TAG_IDENTIFY} {format_box(box)}"

    def _drawn(self, session: Session, answer: str) -> list[Message]:
        """The picture with the answer's boxes, and how many of them could not be drawn."""
        messages = []
        drawn = None if session.image is None else draw_boxes(session.image, answer)
        if drawn is not None:
            path = self._folder / f"{uuid4().hex}.png"
            drawn.save(path)
            content = {"path": str(path), "alt_text": answer}
            messages.append({"role": "assistant", "content": content})
        bad = sum(group.rejected for group in parse_boxes(answer))
        if bad:
            messages.append(_notice(words.bad_boxes(bad)))
        return messages


def answer_of(reply: Message) -> str:
    """What an answer says so far."""
    return "" if reply["content"] == words.WAITING else str(reply["content"])


def _notice(text: str) -> Message:
    return {"role": "assistant", "content": f"⚠ {text}"}


def _explain(error: Exception) -> str:
    """What a user is told of an error; details of defects go to the log only."""
    if is_out_of_memory(error):
        logger.warning("out of memory: %s", error)
        return words.OUT_OF_MEMORY
    if isinstance(error, UserError):
        return str(error)
    logger.error("an answer failed", exc_info=error)
    return words.DEFECT
