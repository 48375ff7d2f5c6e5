"""The demo's command line: load a configuration's model and open its page."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.config import Config
from minigpt4.common.device import check_device
from minigpt4.common.errors import ResourceError
from minigpt4.common.imports import import_model_libraries
from minigpt4.common.logger import setup_logging

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

LOCAL = "127.0.0.1"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``demo_v2.py``."""
    parser = argparse.ArgumentParser(description="Talk with a model about pictures in a browser.")
    parser.add_argument("--cfg-path", required=True, help="configuration file (YAML)")
    parser.add_argument("--gpu-id", type=int, default=None, help="CUDA device to use")
    parser.add_argument(
        "--options",
        nargs="+",
        metavar="KEY=VALUE",
        help="override settings, for instance model.ckpt=FILE run.device=cpu",
    )
    parser.add_argument("--share", action="store_true", help="also open a public link")
    parser.add_argument("--host", default=LOCAL, help="address to listen on (0.0.0.0: everywhere)")
    parser.add_argument(
        "--port", type=int, default=None, help="port (default: a free one from 7860)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, open the page, and serve it until Ctrl-C.

    Raises:
        UserError: A mistake in the configuration, missing weights or device, a port in use.
    """
    args = parse_args(argv)
    setup_logging()
    check_port(args.host, args.port)
    cfg = Config(args)
    choose_gpu(cfg, args.gpu_id)
    check_device(cfg.run().device)
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        app = make_app(cfg, Path(folder))
        url = open_page(app, host=args.host, port=args.port, share=args.share)
        sys.stdout.write(f"The demo is at {url} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            logger.info("the demo is closed")
        finally:
            app.close(verbose=False)


def check_port(host: str, port: int | None) -> None:
    """Make sure that a port which was asked for is free, before a model is loaded for minutes.

    Raises:
        ResourceError: It is in use, or the address is not this machine's.
    """
    if port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ResourceError(
                f"the demo cannot listen on {host}:{port} ({error}): choose another --port, or "
                "leave it out to take a free one."
            ) from None


def choose_gpu(cfg: Config, gpu_id: int | None) -> None:
    """Put ``--gpu-id`` into the configuration; a configuration for the CPU stays there."""
    if gpu_id is None:
        return
    if not cfg.run_cfg.device.startswith("cuda"):
        logger.info("--gpu-id %d is not used: run.device is %s", gpu_id, cfg.run_cfg.device)
        return
    cfg.run_cfg.device = f"cuda:{gpu_id}"
    cfg.model_cfg.device_8bit = gpu_id


def make_app(cfg: Config, folder: Path) -> gr.Blocks:
    """Load the model and build the page.

    Args:
        cfg: The configuration.
        folder: Where examples and pictures with boxes are put while the demo runs.
    """
    stay_offline()
    import_model_libraries()
    from minigpt4.serve.app import build_app
    from minigpt4.serve.engine import Engine
    from minigpt4.serve.examples import find_examples
    from minigpt4.serve.visit import Desk
    from minigpt4.tasks.eval_setup import build_processors, load_model

    examples = find_examples(cfg, folder)
    vis_processor, _ = build_processors(cfg, "")
    settings = cfg.model()
    engine = Engine(load_model(cfg), vis_processor, settings.task_ckpt)
    files = [file for file in (settings.ckpt, *settings.task_ckpt.values()) if file]
    ckpt = ", ".join(dict.fromkeys(Path(file).name for file in files)) or "no checkpoint"
    return build_app(
        Desk(engine, folder),
        note=f"{ckpt} · {cfg.run_cfg.device}",
        examples=examples,
        start_tag=examples[0].tag if examples else None,
    )


def open_page(app: gr.Blocks, *, host: str, port: int | None, share: bool) -> str:
    """Serve the page in the background and return where it is.

    Raises:
        ResourceError: No port is free.
    """
    from minigpt4.serve.app import page_arguments

    arguments: dict[str, Any] = {"server_name": host, "server_port": port, "share": share}
    try:
        _, url, public = app.queue(max_size=64).launch(**page_arguments(), **arguments)
    except OSError as error:
        raise ResourceError(f"the demo cannot listen on {host}: {error}") from error
    if share and public is None:
        logger.warning("no public link could be made; the page is reachable on this machine only")
    return f"{url} and {public}" if public else url


def stay_offline() -> None:
    """Keep Gradio from reporting its use, and its check of itself from going through a proxy."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        os.environ[name] = ",".join(filter(None, [known, LOCAL, "localhost"]))
