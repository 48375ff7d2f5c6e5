"""Mistakes of users end a script with one line and their exit code."""

import errno
import os

import pytest

from minigpt4.common import errors
from minigpt4.common.errors import UserError, is_out_of_memory, naming, run_cli

KINDS = [
    errors.UserError,
    errors.ConfigError,
    errors.DataError,
    errors.WeightsError,
    errors.ResourceError,
    errors.AccessError,
    errors.TrainingError,
]


def raising(error: BaseException):
    def main(argv):
        raise error

    return main


def test_success_is_zero_and_gets_the_words():
    seen = []
    assert run_cli(seen.append, ["--a", "b"]) == 0
    assert seen == [["--a", "b"]]


@pytest.mark.parametrize("kind", KINDS)
def test_user_error_is_one_line_and_its_code(kind, capsys):
    assert run_cli(raising(kind("the thing X in Y is wrong: do Z.")), []) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.err == "error: the thing X in Y is wrong: do Z.\n"
    assert "Traceback" not in captured.err


def test_exit_codes_differ_and_are_not_success():
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


def test_ctrl_c(capsys):
    assert run_cli(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err.startswith("error: Interrupted")


def test_full_disk_names_the_file(capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/log.txt")
    assert run_cli(raising(full), []) == errors.ResourceError.exit_code
    assert "out/log.txt" in capsys.readouterr().err


def test_a_full_disk_in_the_middle_of_a_file_names_it_too(capsys):
    def main(argv):
        with naming("out/log.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write() raises it

    assert run_cli(main, []) == errors.ResourceError.exit_code
    assert "out/log.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_lower(error, capsys):
    assert is_out_of_memory(error)
    assert run_cli(raising(error), []) == errors.ResourceError.exit_code
    assert "batch_size" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes differ"), OSError(errno.EIO, "i/o"), ValueError("x"), KeyError(1)],
)
def test_defects_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run_cli(raising(error), [])


def test_every_kind_is_a_user_error():
    assert all(issubclass(kind, UserError) for kind in KINDS)
