"""One loaded model answering about pictures, turn by turn; what the demo stands on."""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from minigpt4.common.errors import DataError
from minigpt4.conversation.prompts import (
    IMAGE,
    ORIGINAL_BOS,
    TAG_VQA,
    TAGS,
    VIVQA_EVAL_PROMPT,
    image_instruction,
)
from minigpt4.conversation.streaming import BackgroundAnswer
from minigpt4.processors import BlipCaptionProcessor, load_image, to_rgb
from minigpt4.serve.task_weights import TaskWeights
from minigpt4.tasks.predict import prompt_of

logger = logging.getLogger(__name__)

_TAG = re.compile(rf"\s*({'|'.join(map(re.escape, TAGS))})\s*", re.IGNORECASE)
_VQA_WORDING = VIVQA_EVAL_PROMPT.removeprefix(f"{TAG_VQA} ").partition("{")[0]
_clean_question = BlipCaptionProcessor(max_words=1000)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How an answer is generated."""

    temperature: float = 0.0
    """0 takes the likeliest token each time; above, tokens are drawn (with one beam only)."""
    top_p: float = 0.9
    """Share of the probability that tokens are drawn from."""
    num_beams: int = 1
    """Answers followed at once; more than one cannot be streamed."""
    max_new_tokens: int = 128
    """Longest answer in tokens."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that were used become less likely."""
    remember: bool = False
    """Put the earlier turns also before a question with a task tag; one without always has them.

    Data sets of tasks train on single questions, so weights tuned on them answer those better.
    """


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer.

    Attributes:
        question: What was asked, without the picture's slot: ``[vqa] màu gì``.
        answer: The model's words.
    """

    question: str
    answer: str


@dataclass
class Session:
    """One user's picture and turns.

    Attributes:
        image: The picture, upright and RGB; None for a talk without one.
        features: The encoder's output for it (1, N, D).
        positions: Places it takes in a prompt.
        turns: What was asked and answered so far.
    """

    image: Image.Image | None = None
    features: Tensor | None = None
    positions: int = 0
    turns: list[Exchange] = field(default_factory=list)


def split_tag(text: str) -> tuple[str | None, str]:
    """Take the task tag off the start of a text: ``[VQA]màu gì`` gives ``[vqa]``, ``màu gì``."""
    match = _TAG.match(text)
    if match is None:
        return None, text.strip()
    return match[1].lower(), text[match.end() :].strip()


def to_question(text: str) -> str:
    """Bring what a user typed to the form that questions have in training.

    Letters are composed (NFC) and a tag is followed by one space. A ``[vqa]`` question also goes
    through the training's text processor and loses its question mark, which ViVQA's have not.

    Raises:
        DataError: Nothing is asked, or the text holds the placeholder of pictures.
    """
    tag, words = split_tag(unicodedata.normalize("NFC", text))
    if tag == TAG_VQA:
        wording = _VQA_WORDING if words.startswith(_VQA_WORDING) else ""
        words = words.removeprefix(wording)
        words = wording + _clean_question(words.rstrip(" ?？"))
    if not words:
        raise DataError("the question is empty: write what you want to know.")
    if IMAGE in words:
        raise DataError(f"the question holds {IMAGE}, which stands for a picture: remove it.")
    return words if tag is None else f"{tag} {words}"


class Engine:
    """Answers questions of several users about their pictures with one model, one at a time.

    Args:
        model: A loaded model, in evaluation mode and on its device.
        vis_processor: Picture to pixel values (3, S, S).
        task_ckpt: Tasks that answer with a checkpoint of their own; see ``TaskWeights``.
    """

    def __init__(
        self,
        model: Any,
        vis_processor: Callable[[Image.Image], Tensor],
        task_ckpt: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self._vis_processor = vis_processor
        self._weights = TaskWeights(model, task_ckpt)
        self._lock = threading.Lock()

    def open(self, picture: str | Path | Image.Image | None = None) -> Session:
        """Begin a talk; a picture is encoded now, once.

        Args:
            picture: A file or a picture; None for a talk without one.
        Raises:
            DataError: The file is no picture that can be read.
        """
        if picture is None:
            return Session()
        image = load_image(picture) if isinstance(picture, str | Path) else to_rgb(picture)
        # People hold their cameras in all directions; what the browser shows is upright.
        image = ImageOps.exif_transpose(image)
        pixels = self._vis_processor(image)[None]  # (1, 3, S, S)
        with self._lock, torch.inference_mode():
            features = self.model.encode_image_features(pixels)
            positions = self.model.project(features).shape[1]
        return Session(image, features, positions)

    def prompt(self, session: Session, text: str, options: AnswerOptions) -> list[str]:
        """What the model continues: prompt, answer, prompt and so on, as in training.

        The picture stands in the first prompt. Of a talk that has grown too long for the model, the
        oldest turns are left out.

        Args:
            session: The talk so far; it is not changed.
            text: What the user typed.
            options: Whether earlier turns are included, and how long the answer may become.
        Raises:
            DataError: Nothing is asked, or a task is named but there is no picture.
        """
        question = self._question(session, text)
        alone = split_tag(question)[0] is not None and not options.remember
        turns = [] if alone else session.turns
        room = self._context(options)
        for skipped in range(len(turns) + 1):
            texts = self._texts(session, turns[skipped:], question)
            if self._length(session, texts) <= room:
                break
        if skipped:
            logger.info("left out the %d oldest turns of a talk: it is too long", skipped)
        return texts

    def answer_stream(
        self, session: Session, text: str, options: AnswerOptions | None = None
    ) -> Iterator[str]:
        """Answer a question; when the answer is complete, it is kept in the session.

        Closing the iterator ends the generation (with beams, once it is done) and keeps nothing.

        Args:
            session: The talk; others may be answered meanwhile, one after another.
            text: What the user typed, with or without a task tag.
            options: How to answer.
        Yields:
            The answer so far, each time it has grown, and at last the whole answer.
        Raises:
            DataError: Nothing is asked, or a task is named but there is no picture.
        """
        options = options or AnswerOptions()
        question = self._question(session, text)
        work = BackgroundAnswer(lambda tell: self._generate(session, question, options, tell))
        try:
            yield from work
            answer = work.result
        finally:
            work.stop()
        session.turns.append(Exchange(question, answer))
        yield answer

    def answer(self, session: Session, text: str, options: AnswerOptions | None = None) -> str:
        """Answer a question at once and keep it in the session; see ``answer_stream``."""
        return deque(self.answer_stream(session, text, options), maxlen=1)[0]

    def _generate(
        self,
        session: Session,
        question: str,
        options: AnswerOptions,
        tell: Callable[[str], None],
    ) -> str:
        with self._lock:
            tell("")  # ends here when the user has left while others were answered
            self._weights.use(split_tag(question)[0])
            texts = self.prompt(session, question, options)
            sample = options.temperature > 0 and options.num_beams == 1
            generations = self.model.generate_scored(
                texts=[texts],
                image_features=session.features,
                streamer=tell if options.num_beams == 1 else None,
                max_new_tokens=options.max_new_tokens,
                num_beams=options.num_beams,
                do_sample=sample,
                temperature=options.temperature if sample else 1.0,
                top_p=options.top_p,
                repetition_penalty=options.repetition_penalty,
            )
        return generations[0].text

    def _question(self, session: Session, text: str) -> str:
        question = to_question(text)
        if session.image is None and split_tag(question)[0] is not None:
            raise DataError("there is no picture yet: upload one first.")
        return question

    def _texts(self, session: Session, turns: Sequence[Exchange], question: str) -> list[str]:
        questions = [*(turn.question for turn in turns), question]
        if session.image is not None:
            # In training, every instruction about a picture ends with a space.
            questions = [image_instruction(questions[0]), *(f"{each} " for each in questions[1:])]
        prompts = [prompt_of(self.model, each) for each in questions]
        texts = [prompts[0]]
        for turn, prompt in zip(turns, prompts[1:], strict=True):
            # The model puts a BOS before each later prompt itself.
            texts += [turn.answer, prompt.removeprefix(ORIGINAL_BOS)]
        return texts

    def _length(self, session: Session, texts: Sequence[str]) -> int:
        """Positions that a prompt takes, the picture's included."""
        images = 0 if session.image is None else 1
        return len(self.model.sequences.inference(texts, images, session.positions).ids)

    def _context(self, options: AnswerOptions) -> int:
        """Positions that a prompt may take."""
        longest = self.model.settings.max_context_len
        trained = getattr(self.model.llama_model.config, "max_position_embeddings", longest)
        return min(longest, trained - options.max_new_tokens)
