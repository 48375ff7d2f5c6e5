"""What is trained and evaluated: the training task, predictions and their scores."""

from minigpt4.tasks.base import BaseTask, EvaluationData, TrainingData
from minigpt4.tasks.image_text_pretrain import ImageTextPretrainTask

__all__ = ["BaseTask", "EvaluationData", "ImageTextPretrainTask", "TrainingData"]
