"""Instructions of a compiled program in plain words, and the layer or line they come from."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePath

from medjax.nn.onednn_library import TARGET

# They only run others, which the trace shows too.
HOLDERS = frozenset({"while", "call", "conditional", "async-start", "async-done"})
MOVES = frozenset({"copy", "copy-start", "copy-done", "transpose", "bitcast", "concatenate", "pad"})
TALKS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
CUDNN = {
    "__cudnn$convBackwardFilter": "weight gradient",
    "__cudnn$convBackwardInput": "input gradient",
    "__cudnn$conv": "convolution",
}
# Source files, by a part of their path, innermost first where several fit.
AREAS = (
    ("medjax/nn/norm", "normalisation"),
    ("medjax/physics/ct_fbp", "FBP"),
    ("medjax/physics/ct_projector", "CT projection"),
    ("medjax/physics/ct_gather", "CT projection"),
    ("medjax/physics/", "physics of the scan"),
    ("medjax/data/", "augmentation"),
    ("medjax/losses/", "loss"),
    ("optax/", "optimiser"),
    ("medjax/methods/ema", "averaging of weights"),
)
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"^(?:\((?:[^()]|\([^()]*\))*\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_ENTRY = re.compile(r"^(\d+) (.*)$")
_RANDOM = re.compile(r"_uniform|_normal|threefry|random_bits|fold_in|_bernoulli|shuffle")
_LAYER = re.compile(r"^[A-Z]\w*$")
_WRAPPED = re.compile(r"^(?:transpose|jvp|vmap|remat|checkpoint|rematted_computation)\((.*)\)$")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a compiled program: its operation, JAX's name for it, and its source lines."""

    opcode: str
    op_name: str = ""
    labels: str = ""
    target: str = ""
    calls: str = ""
    sources: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Operations:
    """All instructions of a compiled module, by name."""

    module: str
    instructions: Mapping[str, Instruction]
    bodies: Mapping[str, tuple[str, ...]]

    def holds_others(self, name: str) -> bool:
        """Whether the instruction only runs others."""
        found = self.instructions.get(name)
        return found is not None and found.opcode in HOLDERS

    def what(self, name: str) -> str:
        """What an instruction does, in plain words."""
        found = self.instructions.get(name)
        return "other" if found is None else plain_words(self._main(found))

    def where(self, name: str) -> str:
        """The layer, or else the source line; the instruction's own name without both."""
        found = self.instructions.get(name)
        if found is None:
            return name
        main = self._main(found)
        return layer(main.op_name) or next(iter(main.sources), "") or name

    def _main(self, instruction: Instruction) -> Instruction:
        """Of a fusion the part that counts: a convolution or product in it, else the fusion."""
        inside = [self.instructions[n] for n in self.bodies.get(instruction.calls, ())]
        heavy = next((i for i in inside if i.opcode in ("convolution", "dot", "fft")), None)
        if heavy is not None:
            return heavy
        if not instruction.op_name and inside:
            named = next((i for i in reversed(inside) if i.op_name), instruction)
            return dataclasses.replace(named, opcode=instruction.opcode)
        return instruction


def plain_words(instruction: Instruction) -> str:
    """What an instruction does: "convolution", "weight gradient", "copy", ..."""
    opcode, op_name = instruction.opcode, instruction.op_name
    backward = "transpose(" in op_name
    if found := next((v for k, v in CUDNN.items() if instruction.target.startswith(k)), None):
        return found
    if opcode in MOVES:
        return "copy"
    if opcode.startswith(TALKS):
        return "exchange between devices"
    # Named so in nn/lowering.py; a transposed convolution is the input gradient of another.
    scopes = op_name.split("/")
    if "weight_gradient" in scopes:
        return "weight gradient"
    if "input_gradient" in scopes:
        return "input gradient" if backward else "transposed convolution"
    if instruction.target == TARGET:
        return "convolution"
    if opcode == "convolution":
        # A weight gradient's result has the axes of a kernel: space first.
        if not instruction.labels.split("->")[-1].startswith("b"):
            return "weight gradient"
        return "input gradient" if backward else "convolution"
    if opcode == "dot" or "gemm" in instruction.target or "matmul" in instruction.target:
        return "matrix product, gradient" if backward else "matrix product"
    if opcode == "fft":
        return "Fourier transform"
    if _RANDOM.search(op_name):
        return "random numbers"
    area = _area(instruction) or _PRIMITIVES.get(op_name.rpartition("/")[2]) or "element by element"
    return f"{area}, gradient" if backward else area


_PRIMITIVES = {
    "reduce_sum": "sum",
    "gather": "gather",
    "scatter-add": "scatter",
    "scatter_add": "scatter",
    "transpose": "copy",
    "copy": "copy",
    "concatenate": "copy",
    "pad": "copy",
    "reshape": "copy",
}


def _area(instruction: Instruction) -> str:
    return next((w for s in instruction.sources for part, w in AREAS if part in s), "")


def layer(op_name: str) -> str:
    """Flax's path in JAX's name of an operation, such as UNet/ConvUnit_3/Conv_0; or nothing."""
    found = []
    for part in op_name.split("/"):
        while wrapped := _WRAPPED.match(part):
            part = wrapped[1]
        if _LAYER.match(part):
            found.append(part)
    return "/".join(found)


def read(text: str) -> Operations:
    """Reads what `jax.stages.Compiled.as_text` gives."""
    tables = _tables(text)
    instructions: dict[str, Instruction] = {}
    bodies: dict[str, list[str]] = {}
    body: list[str] = []
    for line in text.splitlines():
        if opened := _COMPUTATION.match(line):
            body = bodies.setdefault(opened[1], [])
        elif found := _INSTRUCTION.match(line):
            opcode = _OPCODE.match(found[2])
            if opcode is None:
                continue
            body.append(found[1])
            instructions[found[1]] = Instruction(
                opcode[1],
                _field(found[2], r'op_name="([^"]*)"'),
                _field(found[2], r"dim_labels=([\w\->?]+)"),
                _field(found[2], r'custom_call_target="([^"]*)"'),
                _field(found[2], r"calls=%?([\w.\-]+)"),
                _sources(tables, _field(found[2], r"stack_frame_id=(\d+)")),
            )
    module = _field(text, r"^HloModule ([\w.\-]+)")
    return Operations(module, instructions, {name: tuple(names) for name, names in bodies.items()})


def _field(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return "" if found is None else found[1]


def _tables(text: str) -> dict[str, dict[str, str]]:
    """The numbered tables of files and lines that stand before the program."""
    tables: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.splitlines():
        if line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
            current = tables.setdefault(line, {})
        elif entry := _ENTRY.match(line):
            current[entry[1]] = entry[2]
        elif line.startswith(("%", "ENTRY")):
            break
    return tables


def _sources(tables: Mapping[str, Mapping[str, str]], frame: str) -> tuple[str, ...]:
    """Files and lines from the innermost call outwards, those of libraries last."""
    frames = tables.get("StackFrames", {})
    own, others, seen = [], [], set()
    while frame in frames and frame not in seen:
        seen.add(frame)
        entry = frames[frame]
        place = tables["FileLocations"][_field(entry, r"file_location_id=(\d+)")]
        file = tables["FileNames"][_field(place, r"file_name_id=(\d+)")].strip('"')
        line = _field(place, r" line=(\d+)")
        (others if "site-packages" in file else own).append(f"{_short(file)}:{line}")
        frame = _field(entry, r"parent_frame_id=(\d+)")
    return (*own, *others)


def _short(file: str) -> str:
    """A path below the package it belongs to; machines differ in what is above."""
    parts = PurePath(file).parts
    for top in ("medjax", "site-packages"):
        if top in parts[:-1]:
            at = len(parts) - 1 - parts[::-1].index(top)
            return "/".join(parts[at if top == "medjax" else at + 1 :])
    return parts[-1]
