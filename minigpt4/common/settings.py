"""Every key a configuration may hold, with its type, default and meaning, in one place.

The four sections of a YAML file are checked against these dataclasses by
``minigpt4.common.config``; the classes that use them receive an instance, never a loose mapping.
A field's docstring is its documentation: the error for an unknown key suggests from these names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class ModelSettings:
    """Section ``model``."""

    arch: str = "minigpt_v2"
    """Registered model class: ``minigpt_v2`` (or ``minigpt4``)."""
    model_type: str = "pretrain"
    """Which default file of the architecture to start from."""

    image_size: int = 448
    """Side of the square input picture, in pixels."""
    vit_model: str = "eva_clip_g"
    """``eva_clip_g``, or ``timm/<name>`` for any other image encoder of timm."""
    vit_config: dict[str, Any] | None = None
    """Overrides of the encoder's sizes: embed_dim, depth, num_heads, mlp_ratio, patch_size; for a
    ``timm/`` CNN: out_indices (feature maps to join) and position_channels."""
    vit_weights: str | None = None
    """Encoder weights: a file, ``package:<python package>``, ``random``, or None for the public
    ones of that encoder."""
    drop_path_rate: float = 0.0
    """Stochastic depth of the encoder (only acts when the encoder trains)."""
    vit_precision: str = "fp16"
    """fp16, bf16 or fp32; on CPU fp16 means fp32."""
    freeze_vit: bool = True
    """Keep the encoder and its layer norm as they are."""
    use_grad_checkpoint: bool = False
    """Gradient checkpointing in the encoder (only acts when the encoder trains)."""
    token_merge: str = "1x4"
    """How neighbouring patch tokens are joined: ``1x4`` (raster order, as trained weights need),
    ``2x2`` or ``none``."""

    llama_model: str = ""
    """Language model: a folder, a hub id, or a GGUF file."""
    llm_precision: str = "auto"
    """Weights of the language model: auto (fp16 on CUDA, fp32 on CPU), fp16, bf16 or fp32."""
    freeze_llm: bool = True
    """False trains every weight of the language model (small models, pre-training)."""
    use_grad_checkpoint_llm: bool = False
    """Gradient checkpointing in the language model."""
    low_resource: bool = False
    """Language model in 8 bit (bitsandbytes)."""
    load_in_4bit: bool = False
    """Language model in 4 bit NF4 (bitsandbytes)."""
    device_8bit: int = 0
    """CUDA device that holds a quantized language model when no launcher says otherwise."""
    lora_r: int = 64
    """Rank of LoRA; 0 for none."""
    lora_alpha: int = 16
    """LoRA's scale is lora_alpha / lora_r."""
    lora_dropout: float = 0.05
    """Dropout before LoRA's A."""
    lora_target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Names of the linear layers that get LoRA."""

    ckpt: str = ""
    """Checkpoint (.pth or .safetensors) with the trained parts; empty for none."""
    task_ckpt: dict[str, str] = field(default_factory=dict)
    """The demo's checkpoints of single tasks, others use ckpt: ``{detection: FILE}``."""
    prompt_template: str = "[INST] {} [/INST]"
    """What an instruction is wrapped in."""
    prompt_style: str | None = None
    """Inference prompts: ``training`` (exactly as trained), ``original`` (the original's: two BOS,
    one space), or None: original for a checkpoint that the original wrote, training otherwise."""
    chat_template: bool = False
    """Wrap training instructions in prompt_template."""
    max_txt_len: int = 32
    """Longest answer in tokens, end_sym included; the rest is cut (and counted)."""
    max_context_len: int = 3800
    """Longest prompt in positions; the rest is cut at the right (and counted)."""
    end_sym: str = "\n"
    """What ends an answer."""
    coord_sigma: float = 0.0
    """Softens the target of a coordinate token ``<0>``..``<100>`` to a normal distribution of this
    width (in coordinate units); 0 for hard targets. Needs a tokenizer with such tokens."""

    q_former_model: str | None = None
    """``minigpt4``: checkpoint of the Q-Former."""
    num_query_token: int = 32
    """``minigpt4``: queries of the Q-Former."""
    freeze_qformer: bool = True
    """``minigpt4``: keep the Q-Former as it is."""
    has_qformer: bool = True
    """``minigpt4``: use a Q-Former at all."""
    prompt_path: str = ""
    """``minigpt4``: file of caption prompts."""


@dataclass(kw_only=True)
class ProcessorSettings:
    """A processor by its registered name, and the arguments it takes."""

    name: str
    """Registered processor."""
    image_size: int | None = None
    """Side in pixels (image processors)."""
    prompt: str = ""
    """Text put before each caption (text processors)."""
    max_words: int | None = None
    """Words kept (text processors)."""


@dataclass(kw_only=True)
class DatasetSettings:
    """One entry of section ``datasets``; what a kind of data set needs is in ``build_info``."""

    type: str = "default"
    """Which default file of the data set to start from."""
    kind: str | None = None
    """Data set class: vqa, caption, grounding, detection, conversation, webpair ...; None: as the
    builder says."""
    batch_size: int = 1
    """Samples per step and process."""
    sample_ratio: float = 1.0
    """Weight of this data set among those that train together; see ``run.mixing``."""
    vis_processor: dict[str, Any] = field(default_factory=dict)
    """Split (train, eval) to processor."""
    text_processor: dict[str, Any] = field(default_factory=dict)
    """Split (train, eval) to processor."""
    build_info: dict[str, Any] = field(default_factory=dict)
    """Where annotations and pictures are, and how to read them."""
    data_type: str = "images"
    """Kept for old files; not used."""


@dataclass(kw_only=True)
class EvalDatasetSettings:
    """One entry of section ``evaluation_datasets``."""

    eval_file_path: str = ""
    """Annotation file, or the folder that holds it under its usual name (see ``files``)."""
    img_path: str = ""
    """Folder of the pictures; empty: the folder of the annotation file."""
    batch_size: int = 4
    """Samples per generation step."""
    max_new_tokens: int = 20
    """Longest answer in tokens."""
    kind: str | None = None
    """vqa, detection or refer; None: by the name of the entry."""
    build_info: dict[str, Any] = field(default_factory=dict)
    """How to read the files where they are not in the entry's usual form; as in ``datasets``."""
    files: dict[str, str] = field(default_factory=dict)
    """Name of each split's file where eval_file_path is a folder: ``{val: refcoco_val.json}``; a
    known name brings its own."""
    splits: list[str] = field(default_factory=list)
    """Which files of a folder to evaluate on (RefCOCO: val, testA, testB); empty: all there are."""
    train_file_path: str | None = None
    """Training annotations, for the overlap with them, how common an answer is, and the set of
    answers; None: those that lie beside eval_file_path under their usual name; empty: none."""
    decoding: str = "free"
    """How answers are found: free (whatever the model says), grammar (detections that can always
    be read), answers (one of the training answers, token by token) or rank (the likeliest of
    the candidates)."""
    answers_file: str | None = None
    """Closed set of answers for ``decoding: answers`` and ``rank``, one a line; None: the answers
    of the training annotations, or each sample's own choices."""
    metric: str | None = None
    """What decides whether an answer is right: exact, vqa (soft, ten references), vizwiz or anls;
    None: by the name of the entry."""
    blank: bool = False
    """Replace every picture by a plain grey one: what is left is guessing from the text."""
    limit: int | None = None
    """Only the first so many samples."""


@dataclass(kw_only=True)
class RunSettings:
    """Section ``run``."""

    task: str = "image_text_pretrain"
    """Registered task."""
    runner: str = "runner_base"
    """Registered runner."""
    name: str = ""
    """Kept for evaluation files; shown in reports."""
    job_name: str = "minigptv2_finetune"
    """Name of the run in W&B and in reports."""
    output_dir: str = "outputs"
    """Where runs are written: below ``minigpt4/``, or as it is when absolute."""
    save_path: str = "eval_outputs"
    """Where evaluations are written."""

    lr_sched: str = "linear_warmup_cosine_lr"
    """Registered schedule: linear_warmup_cosine_lr or linear_warmup_step_lr."""
    init_lr: float = 1e-5
    """Learning rate after warm-up."""
    min_lr: float = 1e-6
    """Learning rate at the end."""
    warmup_lr: float = -1.0
    """Learning rate at the first step; negative: init_lr."""
    warmup_steps: int = 0
    """Iterations of linear warm-up."""
    lr_decay_rate: float | None = None
    """Factor per epoch (step schedule)."""
    lr_scale: dict[str, float] = field(default_factory=dict)
    """Factors on the learning rate by a part of the parameter's name: ``{llama_proj: 0.3}``."""
    weight_decay: float = 0.05
    """AdamW's decay of matrices; biases and norms have none."""
    beta2: float = 0.999
    """AdamW's second-moment factor."""
    max_grad_norm: float | None = None
    """Clip the gradient to this norm; None: do not clip."""
    accum_grad_iters: int = 1
    """Iterations per optimizer step; the loss is divided by it."""

    max_epoch: int = 1
    """Epochs."""
    iters_per_epoch: int | None = None
    """Iterations per epoch; None: one pass over the data."""
    mixing: str = "samples"
    """What follows ``sample_ratio``: each data set's share of the samples, or of the steps (as in
    the original, where a larger batch size makes it count more)."""
    num_workers: int = 0
    """Loader processes; negative: by the machine."""
    seed: int = 42
    """Seed of everything drawn."""
    amp: bool = False
    """Mixed precision: fp16 or bf16 on CUDA, bf16 on CPUs made for it, else none. Evaluation looks
    at it on CPUs; on CUDA its weights are in fp16 (``model.llm_precision``)."""
    feature_cache: str = "off"
    """Keep the frozen encoder's output of each picture: off, memory, disk or auto (disk, unless it
    would take more than half of what is free)."""
    feature_cache_dtype: str = "fp16"
    """How it is kept: fp16, or int8 (half of that, each token's values off by up to 1/254 of its
    largest)."""
    feature_cache_gb: float | None = None
    """GiB that all that is kept on this disk may take; what was not used for longest is removed for
    new pictures. None: as much as there is."""

    evaluate: bool = False
    """Only evaluate."""
    train_splits: list[str] = field(default_factory=lambda: ["train"])
    """Splits to train on."""
    valid_splits: list[str] = field(default_factory=list)
    """Splits to validate on after each epoch."""
    test_splits: list[str] = field(default_factory=list)
    """Splits to evaluate at the end."""
    resume_ckpt_path: str | None = None
    """Checkpoint of a run to go on with."""

    device: str = "cuda"
    """cuda, cpu or mps."""
    world_size: int = 1
    """Processes; set by the launcher."""
    dist_url: str = "env://"
    """Where processes meet; set by the launcher."""
    distributed: bool = False
    """Use several processes when a launcher started them."""
    gpu: int | None = None
    """CUDA device of this process; set by the launcher."""
    rank: int = 0
    """This process's number; set by the launcher."""

    log_freq: int = 50
    """Iterations between lines of log.txt."""
    tensorboard_log: bool = False
    """Also write TensorBoard events."""
    wandb_log: bool = False
    """Also log to Weights & Biases."""
    score: str = "confidence"
    """Detections' scores: confidence (token probabilities of label and box) or constant (1.0)."""
    bootstrap: int = 1000
    """Times an evaluation's pictures are drawn anew for the 95 % intervals; 0 for none."""
