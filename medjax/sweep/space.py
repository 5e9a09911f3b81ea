"""What a sweep varies: fields of an experiment by their dotted names, and the values they take."""

import dataclasses
import difflib
import itertools
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from medjax.errors import UserError

# Fields that count something, so that less than 1 of it makes no run.
COUNTS = (
    "schedule.steps",
    "data.batch",
    "data.patch",
    "tiling.size",
    "tiling.batch",
    "keep.save_every",
    "keep.log_every",
    "keep.checkpoints",
)

Settings = Mapping[str, str | float | int]
"""A trial's value of each varied field: a grid's as typed, a range's as a number."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field that takes each of some values.

    Attributes:
      field: dotted name, e.g. "method.weights.adversarial".
      texts: the values as a user types them.
      values: the same as the experiment holds them.
    """

    field: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    def value(self, text: str | float | int) -> Any:
        return self.values[self.texts.index(str(text))]


@dataclasses.dataclass(frozen=True)
class Range:
    """A number that is searched between two ends, both included.

    Attributes:
      field: dotted name.
      low: least value.
      high: greatest value.
      log: search by factors instead of differences.
      whole: whole numbers only.
    """

    field: str
    low: float
    high: float
    log: bool = False
    whole: bool = False


def grid(choices: Iterable[Choice]) -> Iterator[dict[str, str]]:
    """Every combination of the choices; the last field turns fastest."""
    listed = list(choices)
    for texts in itertools.product(*(choice.texts for choice in listed)):
        yield {choice.field: text for choice, text in zip(listed, texts, strict=True)}


def leaves(experiment: Any, prefix: str = "") -> dict[str, Any]:
    """Every field that holds a value and no further fields, by its dotted name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(experiment):
        value = getattr(experiment, field.name)
        if dataclasses.is_dataclass(value):
            found |= leaves(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


def check_counts(experiment: Any) -> None:
    """Raises UserError where a number that counts something is below 1."""
    held = leaves(experiment)
    for name in COUNTS:
        value = held[name]
        numbers = value if isinstance(value, tuple) else (value,)
        if min(numbers) < 1:
            said = " ".join(map(str, numbers))
            raise UserError(f"--{name.replace('_', '-')} {said}: must be 1 or more")


def known_field(experiment: Any, name: str) -> str:
    """The dotted name as Python spells it.

    Raises:
      UserError: the experiment has no such field; the nearest one is named.
    """
    wanted = name.strip().lstrip("-").replace("-", "_")
    fields = leaves(experiment)
    if wanted in fields:
        return wanted
    inside = [field for field in fields if field.startswith(f"{wanted}.")]
    near = inside[:1] or difflib.get_close_matches(wanted, fields, n=1, cutoff=0.4)
    what = "is a group of fields" if inside else "is no field of this experiment"
    hint = f"did you mean {near[0]}?" if near else "medjax train EXPERIMENT --help lists them"
    raise UserError(f"{name}: {what}; {hint}")


def replaced(experiment: Any, values: Mapping[str, Any]) -> Any:
    """The experiment with other values of some fields, all at once, by their dotted names."""
    direct = {name: value for name, value in values.items() if "." not in name}
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(head, {})[rest] = value
    nested = {head: replaced(getattr(experiment, head), rest) for head, rest in groups.items()}
    return dataclasses.replace(experiment, **direct, **nested)


def parse_range(experiment: Any, text: str) -> Range:
    """A range from "FIELD=LOW:HIGH" or "FIELD=LOW:HIGH:log".

    Raises:
      UserError: it is written otherwise, the field is unknown or no number, or the ends are not
        in order.
    """
    name, equals, rest = text.partition("=")
    low, *others = rest.split(":")
    if not equals or others[1:] not in ([], ["log"]) or not others:
        raise UserError(f"--range {text}: write it as FIELD=LOW:HIGH or FIELD=LOW:HIGH:log")
    field = known_field(experiment, name)
    kind = _kind(experiment, field)
    if kind is None:
        raise UserError(f"--range {text}: {field} is not a number; use --grid {field}=...")
    try:
        ends = kind(low), kind(others[0])
    except ValueError:
        of = "whole numbers" if kind is int else "numbers"
        raise UserError(f"--range {text}: {field} takes {of}") from None
    log = others[1:] == ["log"]
    if not (ends[0] < ends[1] and all(map(math.isfinite, ends))):
        raise UserError(f"--range {text}: the first end must be less than the second")
    if log and ends[0] <= 0:
        raise UserError(f"--range {text}: a logarithmic range must be positive")
    return Range(field, *ends, log=log, whole=kind is int)


def parse_choice(experiment: Any, text: str, value: Callable[[str, str], Any]) -> Choice:
    """A choice from "FIELD=V1,V2,...".

    Args:
      experiment: whose field it is.
      text: as typed.
      value: from field and text to what the experiment holds; raises UserError where it does
        not fit the field.

    Raises:
      UserError: it is written otherwise, the field is unknown, a value does not fit or is named
        twice.
    """
    name, equals, rest = text.partition("=")
    texts = tuple(word.strip() for word in rest.split(","))
    if not equals or not all(texts):
        raise UserError(f"--grid {text}: write it as FIELD=VALUE1,VALUE2,...")
    field = known_field(experiment, name)
    values = tuple(value(field, word) for word in texts)
    if len(set(values)) < len(values):
        raise UserError(f"--grid {text}: names one value twice; leave one out")
    return Choice(field, texts, values)


def _kind(experiment: Any, field: str) -> type[float] | type[int] | None:
    *groups, name = field.split(".")
    owner = experiment
    for group in groups:
        owner = getattr(owner, group)
    declared = typing.get_type_hints(type(owner))[name]
    # Some fields take one number or several, or none.
    types = {declared, *typing.get_args(declared)}
    return float if float in types else int if int in types else None
