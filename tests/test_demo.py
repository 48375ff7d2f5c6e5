"""The demo's command, and its page by way of Gradio's own client, on the CPU and offline."""

import argparse
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from minigpt4.common.config import Config
from minigpt4.common.errors import ResourceError, run_cli
from minigpt4.conversation.prompts import MVTEC_PROMPT
from minigpt4.processors import Blip2ImageEvalProcessor
from minigpt4.serve import launch, words
from minigpt4.serve.engine import Engine
from minigpt4.serve.visit import Desk

sys.path.append(str(Path(__file__).parent / "serve"))
from toy_model import DEFECT, ToyModel

ROOT = Path(__file__).parent.parent
KNOBS = (0, 64, 1, False)  # temperature, tokens, beams, remember


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with the toy model, and where it is."""
    launch.stay_offline()
    from minigpt4.serve.app import build_app

    folder = tmp_path_factory.mktemp("demo")
    engine = Engine(ToyModel(), Blip2ImageEvalProcessor(8))
    app = build_app(Desk(engine, folder), note="toy & cpu")
    url = launch.open_page(app, host=launch.LOCAL, port=None, share=False)
    yield app, url
    app.close(verbose=False)


@pytest.fixture
def person(page):
    """A browser tab, as far as the server can tell."""
    from gradio_client import Client

    client = Client(page[1], verbose=False)
    yield client
    client.close()


def _picture(folder, colour):
    path = folder / f"{colour}.png"
    Image.new("RGB", (200, 100), colour).save(path)
    return path


def _texts(messages):
    """The text of each message of a chatbot."""
    texts = []
    for message in messages:
        texts += [part["text"] for part in message["content"] if part["type"] == "text"]
    return texts


def test_a_person_uploads_a_picture_asks_twice_and_checks_for_defects(person, tmp_path):
    from gradio_client import handle_file

    assert person.predict(handle_file(_picture(tmp_path, "white")), api_name="/picture") == []
    job = person.submit("[vqa]", "Sáng hay tối?", *KNOBS, api_name="/ask")
    chat, question = job.result(timeout=30)
    assert _texts(chat) == ["[vqa] Sáng hay tối?", "ảnh sáng"]
    assert question == "", "the box is empty again"
    grown = [_texts(messages)[-1] for messages, _ in job.outputs()]
    assert len(set(grown)) > 2 and grown[-1] == "ảnh sáng", "the answer was streamed"

    chat, _ = person.predict("[vqa]", "chắc không", *KNOBS, api_name="/ask")
    assert len(_texts(chat)) == 4
    chat = person.predict(*KNOBS, api_name="/check")
    assert _texts(chat)[4] == MVTEC_PROMPT
    assert _texts(chat)[5] == DEFECT.replace("<", "&lt;").replace(">", "&gt;")
    files = [part["file"] for m in chat for part in m["content"] if part["type"] == "file"]
    with Image.open(files[0]) as drawn:
        assert drawn.size == (600, 300)
        assert drawn.convert("RGB").getpixel((60, 135)) != (255, 255, 255)
    assert person.predict(api_name="/new_chat") == []


def test_two_people_have_their_own_pictures(page, tmp_path):
    from gradio_client import Client, handle_file

    people = {colour: Client(page[1], verbose=False) for colour in ("white", "black")}
    for colour, client in people.items():
        client.predict(handle_file(_picture(tmp_path, colour)), api_name="/picture")
    jobs = {c: p.submit("[vqa]", "gì", *KNOBS, api_name="/ask") for c, p in people.items()}
    answers = {colour: _texts(job.result(timeout=30)[0])[-1] for colour, job in jobs.items()}
    assert answers == {"white": "ảnh sáng", "black": "ảnh tối"}
    for client in people.values():
        client.close()


def test_a_broken_picture_and_a_missing_one_are_said_in_the_conversation(person, tmp_path):
    from gradio_client import handle_file

    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 nothing")
    chat = person.predict(handle_file(broken), api_name="/picture")
    assert _texts(chat) == [f"⚠ {words.BROKEN_PICTURE}"]
    chat, _ = person.predict("[vqa]", "màu gì", *KNOBS, api_name="/ask")
    assert _texts(chat)[-1] == f"⚠ {words.NO_PICTURE}"


def test_the_page_asks_nothing_of_other_machines(page):
    import httpx

    app, url = page
    config = httpx.get(f"{url}config", trust_env=False).text
    html = httpx.get(url, trust_env=False).text
    css = httpx.get(f"{url}theme.css", trust_env=False).text
    assert "toy &amp;amp; cpu" in html or "toy &amp; cpu" in config
    assert not app.share and not app.analytics_enabled
    for text in (css, config):
        assert "googleapis" not in text and "gstatic" not in text
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', html)
    assert [link for link in loaded if not link.startswith(url)] in ([], ["https://gradio.app/"])


def test_a_port_in_use_is_refused_before_anything_is_loaded():
    with socket.socket() as taken:
        taken.bind((launch.LOCAL, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"{port}.*another --port"):
            launch.check_port(launch.LOCAL, port)
        assert run_cli(launch.main, ["--cfg-path", "none.yaml", "--port", str(port)]) == 5


@pytest.mark.parametrize("name", ["minigptv2_eval_vivqa", "minigptv2_eval_mvtec"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_tutorials_command_says_what_to_do(name, capsys):
    cfg_path = str(ROOT / "eval_configs" / f"{name}.yaml")
    assert run_cli(launch.main, ["--cfg-path", cfg_path, "--gpu-id", "0"]) == 5
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "no CUDA GPU" in line and "run.device=cpu" in line


def test_gpu_id_chooses_the_device_of_both_halves():
    cfg = _config("minigptv2_eval_vivqa")
    launch.choose_gpu(cfg, 1)
    assert (cfg.run().device, cfg.model().device_8bit) == ("cuda:1", 1)


def test_gpu_id_is_passed_over_on_the_cpu_with_a_word(caplog):
    cfg = _config("minigptv2_eval_vivqa", "run.device=cpu")
    with caplog.at_level("INFO", logger="minigpt4"):
        launch.choose_gpu(cfg, 1)
    assert cfg.run().device == "cpu"
    assert "--gpu-id 1 is not used" in caplog.text


def _config(name, *options):
    cfg_path = str(ROOT / "eval_configs" / f"{name}.yaml")
    return Config(argparse.Namespace(cfg_path=cfg_path, options=list(options)))


def test_the_command_serves_a_real_model_until_ctrl_c(tmp_path):
    from gradio_client import Client, handle_file

    parity = ROOT / "tests" / "fixtures" / "parity"
    model = {
        "image_size": 448,
        "vit_config": {"embed_dim": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 4.3637},
        "vit_weights": "random",
        "llama_model": str(parity / "tiny_llama_vi1000"),
        "lora_r": 8,
        "chat_template": True,
        "end_sym": "</s>",
        "ckpt": str(parity / "state_dict.pt"),
        "task_ckpt": {"detection": str(parity / "original_checkpoint_1.pth")},
    }
    config = tmp_path / "demo.yaml"
    config.write_text(yaml.safe_dump({"model": model, "run": {"device": "cpu"}}))
    command = [sys.executable, "demo_v2.py", "--cfg-path", str(config), "--gpu-id", "0"]
    demo = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell may have started the tests with Ctrl-C ignored, which children would inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        line = demo.stdout.readline()
        url = re.match(r"The demo is at (http://127\.0\.0\.1:\d+/)", line)[1]
        client = Client(url, verbose=False)
        client.predict(handle_file(_picture(tmp_path, "white")), api_name="/picture")
        chat, _ = client.predict("[vqa]", "màu gì", 0, 8, 1, False, api_name="/ask")
        assert len(_texts(chat)) == 2
        assert "⚠" not in _texts(chat)[1]
        client.close()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 0
    finally:
        demo.kill()
        demo.stdout.close()
