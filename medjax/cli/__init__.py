"""The command line: one file a command, each with `run(args) -> exit code`."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from medjax.cli import data, evaluate, experiments, restore, sweep, train, weights
from medjax.errors import UserError

HELP = """usage: medjax COMMAND [OPTIONS]

Medical image restoration in JAX. Research use, not for diagnosis.

  medjax list                         the experiments, a line each
  medjax train EXPERIMENT             trains, evaluates and reports; goes on where it stopped
  medjax sweep EXPERIMENT --grid F=V  many settings, compared on the validation scans
  medjax evaluate RUN                 the table of a trained run again
  medjax restore RUN INPUT OUTPUT     restores a DICOM file or folder, NIfTI, picture or npz
  medjax data list                    the datasets with licence and size
  medjax data prepare FOLDER --name N makes a dataset of your own scans
  medjax weights list                 the published networks that losses compare images with
  medjax weights fetch vgg16          downloads the layers that do not come with medjax

medjax COMMAND --help tells more. Start with: medjax train quickstart
"""

# Commands of two words come under their first.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.run,
    "sweep": sweep.run,
    "evaluate": evaluate.run,
    "restore": restore.run,
    "list": experiments.run,
    "data list": data.list_datasets,
    "data prepare": data.prepare,
    "weights list": weights.list_weights,
    "weights fetch": weights.fetch,
}
GROUPS = frozenset(name.split()[0] for name in COMMANDS if " " in name)


def main() -> None:
    """Entry point: runs one command; bad input ends in one line and exit code 2."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    _quiet()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("medjax").setLevel(logging.INFO)
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    words = 2 if args[0] in GROUPS else 1
    name, rest = " ".join(args[:words]), list(args[words:])
    if args[0] in GROUPS and (args[1:2] or ["--help"])[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return 0
    try:
        if name not in COMMANDS:
            raise UserError(f"{name}: medjax has no such command; medjax --help lists them")
        return COMMANDS[name](rest)
    except UserError as error:
        sys.stderr.write(f"medjax: {error}\n")
        return 2


def _quiet() -> None:
    """Third parties' start-up chatter hides our one clear line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
