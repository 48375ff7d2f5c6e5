"""Annotation formats, one a file; each is named in ``minigpt4.datasets.readers.READERS``."""
