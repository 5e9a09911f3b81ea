"""What every command shares: options in, one clear line on bad ones, progress on the screen."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medjax.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Lists what there is; takes no options."""


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """tyro's parser with its boxed errors cut to one line.

    Raises:
      UserError: the arguments do not fit; the nearest option is offered.
    """
    shown, help_text = io.StringIO(), io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(help_text):
            return tyro.cli(
                kind, args=list(args), prog=prog, config=(tyro.conf.AvoidSubcommands,), **options
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.write(_wrapped(help_text.getvalue()))
            raise
    raise UserError(f"{_one_line(shown.getvalue(), kind)}; {prog} --help lists all options")


def _wrapped(text: str) -> str:
    """tyro breaks the lines of its boxes, but not those of the description above them."""
    width = shutil.get_terminal_size().columns
    lines = (
        line if len(line) <= width or line.startswith("│") else textwrap.fill(line, width)
        for line in text.splitlines()
    )
    return "\n".join(lines) + "\n"


def _one_line(boxed: str, kind: type[Any]) -> str:
    lines = [re.sub(r"[│╭╮╰╯]", " ", line).strip() for line in boxed.splitlines()]
    lines = [line for line in lines if line and not re.fullmatch(r"[─ ].*─|─+|-+", line)]
    # tyro's headings, and the name that a command gives the experiment inside.
    heads = (
        "Value error",
        "Unrecognized options",
        "Missing argument",
        "Required options",
        "Invalid choice",
    )
    lines = [re.sub(r"^Error parsing (what\.)?", "", line) for line in lines if line not in heads]
    said: list[str] = []
    for line in lines:
        if line.startswith(("Perhaps you meant", "Argument helptext", "For full helptext")):
            break
        said.append(line)
    if said and said[0].startswith("Missing from "):
        command = said[0].removeprefix("Missing from medjax ").partition(":")[0]
        return f"{command} needs {_needed(kind, ' '.join(said[1:]))}"
    if unfit := re.match(r"(--\S+): no type matching .* from \[(.*?)\]", " ".join(said)):
        form = {f"--{f.name}".replace("_", "-"): _form(f.type) for f in dataclasses.fields(kind)}
        given = unfit[2].replace("'", "").replace(",", "")
        return f"{unfit[1]} {given}: expected {form.get(unfit[1]) or 'another value'}"
    near = next((n for n in lines[len(said) + 1 :] if n.startswith("--")), None)
    offered = f"; did you mean {near.split(',')[0]}?" if near and "Perhaps" in boxed else ""
    return " ".join(said).rstrip(".") + offered


def _form(annotation: Any) -> str:
    """What a user is to type, where an option says it itself."""
    told = (getattr(part, "metavar", None) for part in getattr(annotation, "__metadata__", ()))
    return next((text for text in told if text), "")


def _needed(kind: type[Any], listed: str) -> str:
    """Those of tyro's listed arguments that must be given, without what they mean."""
    needed = [f for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    names = [f.name.upper() if "Positional" in str(f.type) else f"--{f.name}" for f in needed]
    return " ".join(name for name in names if name in listed.split()) or listed


def writable(path: Path) -> None:
    """Raises UserError where a file or folder of this name cannot be made.

    To be asked before a long computation whose result goes there.
    """
    there = path.absolute().parent
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{path}: {there} is no folder; name another output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{path}: nothing may be written in {there}; name another output")


def run_folder(path: Path) -> None:
    """Raises UserError where a run or sweep cannot live in a folder of this name."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; --run names a folder")
    writable(path)


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the estimated end on standard error, from the first news on."""
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(what, total=None)

    def show(done: int, of: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=of)

    try:
        yield show
    finally:
        # To stop one that never started prints an empty line.
        if bar.live.is_started:
            bar.stop()
