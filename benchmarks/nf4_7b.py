"""Build Llama-2-7B's architecture in NF4 with random weights on the CPU, and train one step of it.

    MALLOC_MMAP_THRESHOLD_=1048576 python benchmarks/nf4_7b.py --json FILE

The project's model is built by the project's classes but for one thing: there are no weights to
load, so each matrix is drawn, quantized and dropped before the next, and the model is never whole
in 16 or 32 bit. The image encoder is left out as behind a feature cache: the step gets random
features of its output's size. Memory is compared with what ``train.py --plan`` estimates. Without
the variable glibc keeps what the drawn matrices leave behind, some 2 GiB. LoRA's B starts at zero,
so that half of the trained matrices, the As, have no gradient yet.
"""

from __future__ import annotations

import argparse
import json as json_format
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent)]  # the project is run from its folder, not installed

import psutil  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from minigpt4.common.errors import ResourceError, run_cli  # noqa: E402
from minigpt4.common.logger import progress, setup_logging  # noqa: E402
from minigpt4.common.settings import ModelSettings, RunSettings  # noqa: E402
from minigpt4.runners.plan.clock import GIB, peak_memory  # noqa: E402
from minigpt4.runners.plan.known import KNOWN  # noqa: E402
from minigpt4.runners.plan.memory import Machine, Workload, estimate  # noqa: E402
from minigpt4.runners.plan.sizes import model_sizes  # noqa: E402

_TOKENIZER = _HERE.parent / "ckpt" / "tiny" / "llm" / "tokenizer.model"
_NEEDED = 10 * GIB
_CPU = torch.device("cpu")
_PATCHES, _WIDTH = 1024, 1408


def main(argv: Sequence[str] | None = None) -> None:
    """Build, train a step, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--positions", type=int, default=350, help="length of the sequence")
    parser.add_argument("--layers", type=int, help="fewer than the architecture's 32, to try out")
    args = parser.parse_args(argv)
    setup_logging()
    torch.set_num_threads(args.threads)
    free = psutil.virtual_memory().available
    if free < _NEEDED and args.layers is None:
        raise ResourceError(
            f"{_NEEDED / GIB:.0f} GiB of free memory are needed and {free / GIB:.1f} are there: "
            "close other programs, or build fewer layers with --layers."
        )
    figures = run(args)
    sys.stdout.write(json_format.dumps(figures, indent=2) + "\n")
    if args.json is not None:
        from minigpt4.common.files import write_json

        write_json(args.json, figures)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All figures; memory in GiB."""
    from transformers import LlamaConfig

    torch.manual_seed(0)
    sizes = dict(KNOWN["llama-2-7b-chat-hf"])
    sizes["num_hidden_layers"] = args.layers or sizes["num_hidden_layers"]
    start = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        LlamaConfig(**{k: v for k, v in sizes.items() if k != "model_type"}).save_pretrained(folder)
        (folder / "tokenizer.model").write_bytes(_TOKENIZER.read_bytes())
        (folder / "model.safetensors").touch()  # there are weights: the ones drawn here
        settings = _settings(folder)
        begun = time.perf_counter()
        model = _build(settings)
        built = time.perf_counter() - begun
        resident = psutil.Process().memory_info().rss
        expected = _expected(settings, args)
    figures: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "threads": args.threads,
        "torch": torch.__version__,
        "layers": sizes["num_hidden_layers"],
        "parameters_whole": expected["parameters"],
        "build_s": round(built, 1),
        "model_gib": round((resident - start) / GIB, 2),
        "build_peak_gib": round(peak_memory(_CPU) / GIB, 2),
    }
    figures |= _step(model, args)
    figures["peak_gib"] = round(peak_memory(_CPU) / GIB, 2)
    figures["estimate_gib"] = expected["total"]
    figures["estimate_items_gib"] = expected["items"]
    return figures


def _settings(folder: Path) -> ModelSettings:
    return ModelSettings(
        vit_weights="random",
        vit_config={"depth": 1},  # never run: its features are given
        llama_model=str(folder),
        load_in_4bit=True,
        use_grad_checkpoint_llm=True,
        chat_template=True,
        max_txt_len=1024,
        end_sym="</s>",
    )


def _build(settings: ModelSettings) -> Any:
    """The project's model, its language model's weights drawn instead of loaded."""
    from minigpt4.models import MiniGPTv2

    with mock.patch("minigpt4.models.llm._load_model", _random_quantized):
        return MiniGPTv2.from_config(settings, _CPU)


def _random_quantized(source: Any, kwargs: dict[str, Any], *, random: bool) -> Any:
    """What stands for transformers' loading: the same layers, one matrix after another."""
    import bitsandbytes as bnb
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    config = AutoConfig.from_pretrained(source.name)
    quantization = kwargs["quantization_config"]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=kwargs["dtype"])
    model = replace_with_bnb_linear(
        model, modules_to_not_convert=["lm_head"], quantization_config=quantization
    )
    for module in progress(list(model.modules()), desc="quantizing", unit="module"):
        if isinstance(module, bnb.nn.Linear4bit):
            module.weight = bnb.nn.Params4bit(
                _drawn(module.weight.shape, torch.float32),
                requires_grad=False,
                quant_type=quantization.bnb_4bit_quant_type,
                compress_statistics=quantization.bnb_4bit_use_double_quant,
                module=module,
            ).to(_CPU)
            module.quant_state = module.weight.quant_state
        else:
            _fill(module, kwargs["dtype"])
    model.is_loaded_in_4bit = model.is_quantized = True
    model.config.quantization_config = quantization
    return model


def _fill(module: nn.Module, dtype: torch.dtype) -> None:
    """Draw a module's own parameters; norms are one."""
    for name, value in list(module.named_parameters(recurse=False)):
        drawn = torch.ones(value.shape, dtype=dtype) if value.dim() == 1 else None
        drawn = _drawn(value.shape, dtype) if drawn is None else drawn
        setattr(module, name, nn.Parameter(drawn, requires_grad=False))
    if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        module.__init__(config=module.config)  # type: ignore[misc]  # rotary frequencies


def _drawn(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype).normal_(std=0.02)


def _step(model: Any, args: argparse.Namespace) -> dict[str, Any]:
    """One training step with checkpointing: forward, backward, AdamW; and its forward alone."""
    from minigpt4.common.optims import build_optimizer

    samples = {
        "image_features": torch.randn(args.batch, _PATCHES, _WIDTH),
        "instruction_input": [_instruction(model, args.positions)] * args.batch,
        "answer": ["a a a a a a"] * args.batch,
    }
    positions = model.prepare(samples).inputs_embeds.shape[1]
    optimizer = build_optimizer(model, RunSettings(init_lr=1e-5))
    model.train()
    with torch.no_grad():
        begun = time.perf_counter()
        model(samples)
        forward = time.perf_counter() - begun
    begun = time.perf_counter()
    loss = model(samples)["loss"]
    loss.backward()
    optimizer.step()
    step = time.perf_counter() - begun
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    reached = sum(g is not None and bool((g != 0).any()) for g in gradients)
    return {
        "batch": args.batch,
        "positions": positions,
        "forward_s": round(forward, 1),
        "step_s": round(step, 1),
        "loss": round(float(loss), 4),
        "trained_tensors": len(gradients),
        "with_a_gradient": reached,
    }


def _instruction(model: Any, positions: int) -> str:
    """An instruction that makes a training sequence about so long."""
    from minigpt4.conversation.prompts import image_instruction

    spent = 1 + _PATCHES // 4 + 30
    return image_instruction("a " * max(positions - spent, 1))


def _expected(settings: ModelSettings, args: argparse.Namespace) -> dict[str, Any]:
    """What the plan says of the same step."""
    sizes = model_sizes(settings)
    sizes = replace(sizes, vision=replace(sizes.vision, positions=_PATCHES // 4))
    work = Workload(batch=args.batch, positions=args.positions, answer=8, cached=True)
    found = estimate(settings, sizes, work, Machine(device="cpu", mixed="no"))
    return {
        "parameters": sizes.language.parameters,
        "total": round(found.total / GIB, 2),
        "items": {item.name: round(item.bytes / GIB, 2) for item in found.items},
    }


if __name__ == "__main__":
    sys.exit(run_cli(main))
