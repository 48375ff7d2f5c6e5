"""Which checkpoints a model must not take."""

from __future__ import annotations

from minigpt4.common.checkpoint import ComponentReport, LoadReport
from minigpt4.common.errors import WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.llm import LanguageModel
from minigpt4.models.vision.base import VisionEncoder

_LEARNED = {
    "projection": "check model.vit_model, model.token_merge and model.llama_model",
    "lora": "check model.lora_r and model.lora_target_modules",
}
"""Parts that must not be lost, and the settings that decide their shape."""


def refuse_unfit(
    report: LoadReport,
    settings: ModelSettings,
    language: LanguageModel,
    encoder: VisionEncoder,
) -> None:
    """Refuse a checkpoint of which a learned part would be lost without a word.

    Args:
        report: How the checkpoint's names and shapes fit the model's.
        settings: Section ``model``.
        language: The language model as it was built.
        encoder: The image encoder as it was built.
    Raises:
        WeightsError: Its projection or LoRA has other shapes or no counterpart at all, it brings
            nothing that the model learns, or weights that the model cannot take.
    """
    where = f"{report.path} (model.ckpt)"
    for name, hint in _LEARNED.items():
        part = report.components.get(name)
        if part is not None and (part.mismatched or not part.matched):
            unfit = part.mismatched or part.unexpected
            raise WeightsError(
                f"{len(unfit)} tensor(s) of the {name} in {where} do not fit this model: {hint}; "
                f"first {unfit[0]}."
            )
    if not any(p.matched for n, p in report.components.items() if n in (*_LEARNED, "llm")):
        raise WeightsError(
            f"{where} holds nothing of this model's projection, LoRA or language model: it belongs "
            "to another model."
        )
    vision = report.components.get("vision", ComponentReport())
    if vision.mismatched or (vision.unexpected and not vision.matched):
        raise WeightsError(
            f"{where} holds another image encoder, first "
            f"{(vision.mismatched or vision.unexpected)[0]}: check model.vit_model, "
            "model.vit_config and model.image_size."
        )
    if vision.matched and encoder.is_final:
        raise WeightsError(
            f"{where} holds a trained image encoder, which can only be loaded while the model is "
            "built: name it in model.ckpt, or set model.freeze_vit=False."
        )
    llm = report.components.get("llm", ComponentReport())
    if llm.mismatched and language.is_quantized:
        raise WeightsError(
            f"{where} brings weights of the language model, which a quantized one cannot take: "
            "turn off model.low_resource and model.load_in_4bit."
        )
    is_complete = bool(llm.matched) and not llm.missing and not llm.mismatched
    if settings.freeze_llm and not language.has_weights and not is_complete:
        raise WeightsError(
            f"{settings.llama_model} (model.llama_model) holds no weights, and {where} brings only "
            f"{len(llm.matched)} tensors of them: name a folder with weights."
        )
