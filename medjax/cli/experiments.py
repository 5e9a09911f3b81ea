"""medjax list: the experiments that come with medjax."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from medjax.cli.common import NoOptions, parse


def run(args: Sequence[str]) -> int:
    from medjax import experiment

    parse(NoOptions, args, "medjax list")
    table = Table("experiment", "what it does", box=None, header_style="bold")
    for name, path in experiment.published().items():
        table.add_row(name, experiment.load(path, "full").summary)
    Console().print(table)
    sys.stdout.write("\nnext: medjax train EXPERIMENT (--help shows every field)\n")
    return 0
