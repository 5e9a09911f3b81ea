"""medjax list: the experiments that come with medjax."""

import ast
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import medjax
from medjax.cli.common import NoOptions, parse

WIDTH = 79


def run(args: Sequence[str]) -> int:
    parse(NoOptions, args, "medjax list")
    found = dict(summaries())
    room = max(map(len, found)) + 2
    for name, summary in found.items():
        text = textwrap.fill(summary, WIDTH - room, subsequent_indent=" ")
        sys.stdout.write(f"{name:<{room}}{text.replace(chr(10), chr(10) + ' ' * room)}\n")
    sys.stdout.write("\nnext: medjax train EXPERIMENT (--help shows every field)\n")
    return 0


def summaries() -> Iterator[tuple[str, str]]:
    """The names of the published experiments and what they do.

    Read off the files: to run them all takes seconds, for they import JAX and all of medjax.
    """
    here = Path(medjax.__file__).parent
    folder = next(f for f in (here / "experiments", here.parent / "experiments") if f.is_dir())
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("_"):
            yield path.stem, _summary(path)


def _summary(path: Path) -> str:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "summary":
            value = node.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    from medjax import experiment

    return experiment.load(path, "full").summary
