"""The command line: one file a command, each with a function `(args) -> exit code`."""

import difflib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from medjax.errors import UserError
from medjax.heap import keep_freed, start_with_large_pages
from medjax.home import compiled_folder

HELP = """usage: medjax COMMAND [OPTIONS]

Medical image restoration in JAX. Research use, not for diagnosis.

  medjax list                         the experiments, a line each
  medjax train EXPERIMENT             trains, evaluates and reports; goes on where it stopped
  medjax sweep EXPERIMENT --grid F=V  many settings, compared on the validation scans
  medjax plan EXPERIMENT              settings whose training step fits a device's memory
  medjax profile EXPERIMENT           which operations a training step spends its time on
  medjax evaluate RUN                 the table of a trained run again
  medjax restore RUN INPUT OUTPUT     restores a DICOM file or folder, NIfTI, picture or npz
  medjax reconstruct FOLDER OUTPUT    raw CT projections to a volume, restored by a run if given
  medjax data list                    the datasets with licence and size
  medjax data prepare FOLDER --name N makes a dataset of your own scans
  medjax weights list                 the published networks that losses compare images with
  medjax weights fetch vgg16          downloads the layers that do not come with medjax

medjax COMMAND --help tells more. Start with: medjax train quickstart

Compiled programs are kept for the next command in $MEDJAX_HOME/compiled, or
~/.cache/medjax/compiled; JAX_ENABLE_COMPILATION_CACHE=false keeps none.
"""

# Where each command is: a module below this one and its function, loaded when it is called.
COMMANDS = {
    "train": "train:run",
    "sweep": "sweep:run",
    "plan": "plan:run",
    "profile": "profile:run",
    "evaluate": "evaluate:run",
    "restore": "restore:run",
    "reconstruct": "reconstruct:run",
    "list": "experiments:run",
    "data list": "data:list_datasets",
    "data prepare": "data:prepare",
    "weights list": "weights:list_weights",
    "weights fetch": "weights:fetch",
}
# Commands of two words come under their first.
GROUPS = frozenset(name.split()[0] for name in COMMANDS if " " in name)
STOPPED = 130
"""What shells expect of a command that Ctrl-C ended."""


def command() -> None:
    """The program `medjax`."""
    start_with_large_pages()
    main()


def main() -> None:
    """Entry point: runs one command; bad input ends in one line and exit code 2."""
    sys.unraisablehook = _hook
    keep_freed()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # `medjax list | head` closes the pipe early; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Runs one command and returns its exit code."""
    _quiet()
    _keep_compiled()
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_for_users)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
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
            raise UserError(_unknown(name))
        module, _, function = COMMANDS[name].partition(":")
        return getattr(importlib.import_module(f"medjax.cli.{module}"), function)(rest)
    except UserError as error:
        sys.stderr.write(f"medjax: {error}\n")
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        # Without a number it is no answer of the system but a fault of ours.
        if error.errno is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        sys.stderr.write(
            f"medjax: {where}{error.strerror}; check the path, its permissions and the free space\n"
        )
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("medjax: stopped\n")
        return STOPPED


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.6)
    hint = f"did you mean medjax {near[0]}?" if near else "medjax --help lists them"
    return f"{name}: medjax has no such command; {hint}"


def _hook(told: "sys.UnraisableHookArgs") -> None:
    """Not what TensorStore says of what Orbax has given up: a damaged read, a save on a full disk.

    Its threads then call back into an event loop that is gone; what went wrong is raised to us.
    """
    if told.exc_type is not RuntimeError or str(told.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(told)


def _is_for_users(record: logging.LogRecord) -> bool:
    """Not the tracebacks that Orbax logs (through absl) of what it raises to us as well."""
    return record.name != "absl" or not record.exc_info


def _quiet() -> None:
    """Third parties' start-up chatter hides our one clear line."""
    # XLA says, as an error, that its own tuning of a kept CPU program is unknown to the CPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _keep_compiled() -> None:
    """JAX reads this when it is first imported, and workers inherit it."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_folder()))
