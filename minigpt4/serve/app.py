"""The demo's page: a picture at the left, the conversation at the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from minigpt4.serve import words
from minigpt4.serve.engine import AnswerOptions
from minigpt4.serve.examples import Example
from minigpt4.serve.visit import Desk, Message, Visit

STYLE = Path(__file__).with_name("demo.css")
_ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}


def theme() -> gr.themes.Base:
    """Colours and fonts; only fonts that the browser has, so that nothing is fetched."""
    sans = ("system-ui", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif")
    mono = ("ui-monospace", "Noto Sans Mono", "DejaVu Sans Mono", "monospace")
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="slate",
        font=[gr.themes.Font(name) for name in sans],
        font_mono=[gr.themes.Font(name) for name in mono],
    )


def page_arguments() -> dict[str, Any]:
    """How the page is to be launched: its looks, and nothing that leaves this machine."""
    return {
        "theme": theme(),
        "css_paths": STYLE,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "max_file_size": "30mb",
        "quiet": True,
        "prevent_thread_lock": True,
    }


def build_app(
    desk: Desk,
    *,
    note: str = "",
    start_tag: str | None = None,
    examples: Sequence[Example] = (),
) -> gr.Blocks:
    """Lay out the page and connect it.

    Args:
        desk: Does the work.
        note: Which model is running, for the head of the page.
        start_tag: The task chosen at first; None for the first one.
        examples: Pictures to try.
    """
    start_tag = words.TASKS[0].tag if start_tag is None else start_tag
    with gr.Blocks(
        title=f"{words.TITLE} · {words.SUBTITLE}",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(3600, 24 * 3600),
    ) as app:
        visit = gr.State(None)
        gr.HTML(_head(note), padding=False, elem_id="head")
        with gr.Row(elem_id="body"):
            with gr.Column(scale=4, min_width=320):
                picture = gr.Image(
                    label=words.PICTURE,
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard"],
                    height=380,
                    placeholder=words.DROP,
                    elem_id="picture",
                )
                check = gr.Button(words.CHECK, elem_id="check")
                chosen = _examples(examples)
                temperature, max_new_tokens, num_beams, remember = _settings()
            with gr.Column(scale=6, min_width=360):
                chat = gr.Chatbot(
                    label=words.CHAT,
                    show_label=False,
                    height=470,
                    placeholder=words.WELCOME,
                    render_markdown=False,
                    sanitize_html=True,
                    group_consecutive_messages=False,
                    feedback_options=None,
                    buttons=[],
                    elem_id="chat",
                )
                tag = gr.Radio(
                    [(task.label, task.tag) for task in words.TASKS],
                    value=start_tag,
                    label=words.TASK,
                    elem_id="tag",
                )
                question = gr.Textbox(
                    placeholder=words.HINTS[start_tag],
                    label=words.QUESTION,
                    lines=1,
                    max_lines=4,
                    autofocus=True,
                    elem_id="question",
                )
                with gr.Row(elem_id="actions"):
                    send = gr.Button(words.SEND, variant="primary", scale=2, elem_id="send")
                    stop = gr.Button(words.STOP, elem_id="stop")
                    new_chat = gr.Button(words.NEW_CHAT, elem_id="new-chat")
                    new_picture = gr.Button(words.NEW_PICTURE, elem_id="new-picture")

        # Broken files must reach the desk, which explains them; Gradio would only say "Error".
        picture.preprocess = _path_only  # type: ignore[method-assign]

        knobs = [temperature, max_new_tokens, num_beams, remember]

        def options(values: Sequence[Any]) -> AnswerOptions:
            heat, tokens, beams, keep = values
            return AnswerOptions(
                temperature=float(heat),
                max_new_tokens=int(tokens),
                num_beams=int(beams),
                remember=bool(keep),
            )

        def on_picture(path: str | None) -> tuple[Visit, list[Message]]:
            now = desk.new_picture(path)
            return now, shown_messages(now)

        def on_ask(
            now: Visit | None, task: str, text: str, *values: Any
        ) -> Iterator[tuple[Visit, list[Message], str]]:
            for state in desk.ask(now or Visit(), task, text, options(values)):
                yield state, shown_messages(state), ""

        def on_check(now: Visit | None, *values: Any) -> Iterator[tuple[Visit, list[Message]]]:
            for state in desk.check(now or Visit(), options(values)):
                yield state, shown_messages(state)

        def on_stop(now: Visit | None) -> list[Message]:
            return shown_messages(desk.stop(now or Visit()))

        def on_new_chat(now: Visit | None) -> tuple[Visit, list[Message]]:
            now = desk.new_chat(now or Visit())
            return now, shown_messages(now)

        def on_click(now: Visit | None, event: gr.SelectData) -> tuple[Any, Any]:
            marked = desk.click(now or Visit(), *event.index)
            if marked is None:
                return gr.skip(), gr.skip()
            task, text = marked.split(" ", 1)
            return task, text

        def on_example(index: int) -> tuple[str, str, str]:
            example = examples[index]
            return example.picture, example.tag, example.question

        shown = [visit, chat]
        picture.change(
            on_picture,
            picture,
            shown,
            api_name="picture",
            show_progress="minimal",
            **_ONE_AT_A_TIME,
        )
        asked = gr.on(
            [send.click, question.submit],
            on_ask,
            [visit, tag, question, *knobs],
            [*shown, question],
            api_name="ask",
            show_progress="hidden",
            **_ONE_AT_A_TIME,
        )
        checked = check.click(
            on_check,
            [visit, *knobs],
            shown,
            api_name="check",
            show_progress="hidden",
            **_ONE_AT_A_TIME,
        )
        stop.click(on_stop, visit, chat, cancels=[asked, checked], show_progress="hidden")
        gr.on(
            [new_chat.click, chat.clear],
            on_new_chat,
            visit,
            shown,
            cancels=[asked, checked],
            api_name="new_chat",
        )
        new_picture.click(lambda: None, None, picture, cancels=[asked, checked])
        tag.change(
            lambda task: gr.update(placeholder=words.HINTS[task]),
            tag,
            question,
            show_progress="hidden",
        )
        picture.select(on_click, visit, [tag, question], show_progress="hidden")
        if chosen is not None:
            chosen.click(on_example, chosen, [picture, tag, question], show_progress="hidden")
    return app


def shown_messages(visit: Visit) -> list[Message]:
    """The conversation with its text as it is: the chatbot would take ``<p>`` for HTML."""
    return [
        {**message, "content": escape(message["content"], quote=False)}
        if isinstance(message["content"], str)
        else message
        for message in visit.messages
    ]


def _path_only(payload: Any) -> str | None:
    return payload.path if payload else None


def _head(note: str) -> str:
    return (
        f"<div class='titles'><h1>{words.TITLE}</h1>"
        f"<div><b>{words.SUBTITLE}</b><br><span>{words.SUBTITLE_EN}</span></div>"
        f"<div class='note'>{escape(note)}</div></div>"
    )


def _examples(examples: Sequence[Example]) -> gr.Dataset | None:
    if not examples:
        return None
    return gr.Dataset(
        components=[gr.Image(render=False, type="filepath")],
        samples=[[example.picture] for example in examples],
        type="index",
        label=words.EXAMPLES,
        elem_id="examples",
    )


def _settings() -> tuple[gr.Slider, gr.Slider, gr.Slider, gr.Checkbox]:
    default = AnswerOptions()
    with gr.Accordion(words.SETTINGS, open=False, elem_id="settings"):
        temperature = gr.Slider(
            0, 1.5, default.temperature, step=0.1, label=words.TEMPERATURE,
            info=words.TEMPERATURE_INFO,
        )  # fmt: skip
        tokens = gr.Slider(8, 512, default.max_new_tokens, step=8, label=words.TOKENS)
        beams = gr.Slider(1, 8, default.num_beams, step=1, label=words.BEAMS, info=words.BEAMS_INFO)
        remember = gr.Checkbox(default.remember, label=words.REMEMBER, info=words.REMEMBER_INFO)
    return temperature, tokens, beams, remember
