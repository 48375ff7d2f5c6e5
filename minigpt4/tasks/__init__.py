"""What is trained and evaluated: the training task, predictions and their scores."""

from minigpt4.tasks.base import BaseTask, TrainingData
from minigpt4.tasks.image_text_pretrain import ImageTextPretrainTask

__all__ = ["BaseTask", "ImageTextPretrainTask", "TrainingData"]
