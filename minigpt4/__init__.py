"""MiniGPT-v2 fine-tuning for Vietnamese VQA and industrial defect detection."""

__version__ = "0.1.0"
