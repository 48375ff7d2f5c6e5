"""The command ``python -m minigpt4.datasets.doctor``.

It looks at every sample that a configuration would train or test on, prints what is wrong, and
writes ``doctor.html`` and ``doctor.json``. Its exit code is made for CI:

====  ========================================================================
code  meaning
====  ========================================================================
0     nothing but notes; warnings too, unless ``--strict``
2     the configuration itself is wrong, or names no data
3     errors: a run would not start, or would stop at a sample
8     ``--strict``, and there are warnings but no errors
====  ========================================================================
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.common.errors import DataError, UserError
from minigpt4.common.files import write_json
from minigpt4.common.logger import setup_logging

WARNINGS_EXIT_CODE = 8
SAMPLES = 48
"""Samples of each data set on the page's contact sheet."""


class WarningsFoundError(UserError):
    """Warnings, where a user wants none."""

    exit_code = WARNINGS_EXIT_CODE


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and examine.

    Raises:
        ConfigError: The configuration is wrong or names no data.
        DataError: There are errors.
        WarningsFoundError: There are warnings, and ``--strict`` was given.
    """
    args = _parser().parse_args(argv)
    setup_logging()
    from minigpt4.common.config import Config
    from minigpt4.doctor.examination import examine
    from minigpt4.doctor.findings import count_severities
    from minigpt4.doctor.page import write_page
    from minigpt4.doctor.summary import summary_lines, to_dict

    examination = examine(Config(args), read_pictures=not args.no_pictures)
    out = args.out or Path("doctor_outputs") / Path(args.cfg_path).stem
    write_json(out / "doctor.json", to_dict(examination, cfg_path=args.cfg_path))
    write_page(
        out / "doctor.html", examination, cfg_path=args.cfg_path, samples=max(args.samples, 0)
    )
    lines = [*summary_lines(examination), f"written: {out / 'doctor.html'}, {out / 'doctor.json'}"]
    sys.stdout.write("\n".join(lines) + "\n")
    counts = count_severities(examination.findings)
    if counts["error"]:
        raise DataError(
            f"The data of {args.cfg_path} have errors of {counts['error']} kind(s); "
            f"{out / 'doctor.html'} shows every place."
        )
    if args.strict and counts["warning"]:
        raise WarningsFoundError(
            f"The data of {args.cfg_path} have warnings of {counts['warning']} kind(s), and "
            f"--strict allows none; {out / 'doctor.html'} shows every place."
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m minigpt4.datasets.doctor",
        description="Look at every sample that a configuration would train or test on.",
        epilog=f"Exit code: 0 fine (notes, and warnings without --strict); "
        f"{DataError.exit_code} errors; {WARNINGS_EXIT_CODE} warnings with --strict; 2 a wrong "
        "configuration.",
    )
    parser.add_argument("--cfg-path", required=True, help="the configuration, as for training")
    parser.add_argument(
        "--options", nargs="+", metavar="KEY=VALUE", help="override keys, as for training"
    )
    parser.add_argument(
        "--out", type=Path, help="folder to write to (default: doctor_outputs/<configuration>)"
    )
    parser.add_argument(
        "--no-pictures",
        action="store_true",
        help="only see whether pictures are there; do not read them",
    )
    parser.add_argument(
        "--samples", type=int, default=SAMPLES,
        help="samples of each data set on the contact sheet (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    return parser
