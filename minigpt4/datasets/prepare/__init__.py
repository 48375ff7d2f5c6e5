"""Brings data sets into the form that training reads: ``python -m minigpt4.datasets.prepare``."""
