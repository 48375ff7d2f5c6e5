"""``python -m minigpt4.datasets.doctor``; the doctor itself is ``minigpt4.doctor``."""
