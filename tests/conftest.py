"""What every test starts from."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Undo ``setup_logging`` of scripts that a test runs, or later tests would see no log lines."""
    package = logging.getLogger("minigpt4")
    handlers, level, propagate = package.handlers[:], package.level, package.propagate
    yield
    package.handlers[:], package.propagate = handlers, propagate
    package.setLevel(level)
