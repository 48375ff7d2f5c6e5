"""Data sets by their names: ``datasets.<name>`` and ``evaluation_datasets.<name>`` to objects."""

from minigpt4.datasets.builders.evaluation import build_eval_dataset
from minigpt4.datasets.builders.named import register_names
from minigpt4.datasets.builders.record_builder import (
    KINDS,
    MVTECADBuilder,
    RecordBuilder,
    ViVQABuilder,
    dataset_class,
    make_builder,
)

register_names()

__all__ = [
    "KINDS",
    "MVTECADBuilder",
    "RecordBuilder",
    "ViVQABuilder",
    "build_eval_dataset",
    "dataset_class",
    "make_builder",
]
