"""Packages that are kept out, and that they come when they are needed after all."""

import subprocess
import sys
import textwrap

import pytest

LLAMA = "tests/fixtures/parity/tiny_llama_vi1000"


def _run(code: str) -> str:
    """What a fresh interpreter prints."""
    begin = "import sys\nfrom minigpt4.common.imports import import_model_libraries\n"
    command = [sys.executable, "-W", "ignore", "-c", begin + textwrap.dedent(code)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_what_no_model_here_uses_is_not_imported():
    torch = pytest.importorskip("torch")
    if torch.accelerator.is_available():
        pytest.skip("with an accelerator Triton may be used")
    loaded = _run(
        f"""
        import_model_libraries()
        from minigpt4.common.settings import ModelSettings
        from minigpt4.models.llm import load_language_model
        import torch
        settings = ModelSettings(llama_model={LLAMA!r}, lora_r=2)
        load_language_model(settings, torch.device("cpu"))
        print([n for n in ("peft", "triton", "bitsandbytes", "scipy") if sys.modules.get(n)])
        """
    )
    assert loaded == "['peft']"


def test_quantization_works_after_a_model_without_it():
    pytest.importorskip("bitsandbytes")
    kinds = _run(
        f"""
        import transformers  # before anything is hidden
        import_model_libraries()
        from minigpt4.common.settings import ModelSettings
        from minigpt4.models.llm import load_language_model
        import torch
        import peft
        settings = ModelSettings(llama_model={LLAMA!r}, lora_r=2)
        load_language_model(settings, torch.device("cpu"))
        peft.import_utils.is_bnb_available()
        load_language_model(settings, torch.device("cpu"))
        settings = ModelSettings(llama_model={LLAMA!r}, lora_r=2, load_in_4bit=True)
        model = load_language_model(settings, torch.device("cpu")).model
        found = {{type(module).__module__ for module in model.modules()}}
        import scipy.optimize
        print("peft.tuners.lora.bnb" in found, "bitsandbytes.nn.modules" in found)
        """
    )
    assert kinds == "True True"
