"""What a compiled program sends between devices, read from its HLO text."""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from medjax.operations import TALKS

# `%name = RESULT kind(OPERANDS), ...`; the asynchronous form is a `-start` and a `-done`.
_OPERATION = re.compile(
    r"^\s*(?:ROOT )?%?\S+ = (?P<result>.+?) (?P<kind>" + "|".join(TALKS) + r")(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(?P<type>[a-z]+\d*(?:e\d+m\d+\w*)?)\[(?P<shape>[\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{\{(?P<first>[\d,]+)\}")
_TILED = re.compile(r"replica_groups=\[\d+,(?P<size>\d+)\]<=")
_BITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation.

    Attributes:
      kind: one of `operations.TALKS`.
      bytes: of the whole array on one device: what is reduced, what was gathered, what is
        scattered (before), what is sent on.
      group: devices that take part together.
    """

    kind: str
    bytes: int
    group: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends, by the ring algorithm (a permute sends all)."""
        share = (self.group - 1) / self.group
        if self.kind == "all-reduce":
            return 2 * share * self.bytes
        return self.bytes if self.kind == "collective-permute" else share * self.bytes


def collectives(hlo: str, devices: int) -> list[Collective]:
    """The collective operations of a program in the order of its text, one an occurrence.

    The body of a loop counts once, whatever its number of turns; operations over groups of one
    device are left out.

    Args:
      hlo: `compiled.as_text()`.
      devices: in the program, for operations that name no groups.
    """
    return [found for found in _read(hlo.splitlines(), devices) if found.group > 1]


def total(found: Iterable[Collective]) -> dict[str, dict[str, float]]:
    """By kind: how many operations, their bytes, and the bytes a device sends."""
    counts, size = Counter[str](), Counter[str]()
    sent: defaultdict[str, float] = defaultdict(float)
    for one in found:
        counts[one.kind] += 1
        size[one.kind] += one.bytes
        sent[one.kind] += one.sent
    return {
        kind: {"operations": counts[kind], "bytes": size[kind], "sent": sent[kind]}
        for kind in TALKS
        if counts[kind]
    }


def _read(lines: Iterable[str], devices: int) -> Iterator[Collective]:
    for line in lines:
        found = _OPERATION.match(line)
        if found is None:
            continue
        kind = found["kind"]
        arrays = [_bytes(array) for array in _ARRAY.finditer(found["result"])]
        group = 2 if kind == "collective-permute" else _group(line, devices)
        if found["start"] and kind != "all-reduce":
            # (operands, results, and for a permute two counters)
            arrays = arrays[1:2] if kind == "collective-permute" else arrays[len(arrays) // 2 :]
        size = sum(arrays)
        yield Collective(kind, size * group if kind == "reduce-scatter" else size, group)


def _group(line: str, devices: int) -> int:
    if tiled := _TILED.search(line):
        return int(tiled["size"])
    if listed := _LISTED.search(line):
        return len(listed["first"].split(","))
    return devices


def _bytes(array: re.Match[str]) -> int:
    size = 1
    for length in filter(None, array["shape"].split(",")):
        size *= int(length)
    bits = _BITS.search(array["type"])
    # A truth value, `pred`, takes a byte.
    return -(-size * (int(bits[0]) if bits else 8) // 8)
