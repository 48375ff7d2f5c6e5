"""``python -m minigpt4.datasets.doctor --cfg-path FILE``; see ``minigpt4.doctor.cli``.

Only the command lives here: the doctor also needs the model's tokenizer and the reports, which
stand above data sets.
"""

import sys

from minigpt4.common.errors import run_cli

if __name__ == "__main__":
    from minigpt4.doctor.cli import main

    sys.exit(run_cli(main))
