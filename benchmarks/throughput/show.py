"""The table of the terminal, and the lines below it."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

MIB = 2**20
_HEAD = (
    "row",
    "batch",
    "step ms",
    "images/s",
    "Mvoxel/s",
    "restore ms",
    "GFLOP a step",
    "MFU",
    "compile s",
    "temp MiB",
    "input",
    "torch/ours step",
    "torch/ours restore",
    "best of torch",
)


def table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """One line a row; with PSNR and SSIM where any row was judged."""
    judged = any(row.get("quality") for row in rows)
    made = Table(title=title)
    for number, head in enumerate([*_HEAD, *(("PSNR", "SSIM") if judged else ())]):
        made.add_column(head, justify="left" if number in (0, 13) else "right")
    for row in rows:
        made.add_row(*_cells(row), *(_quality(row) if judged else ()))
    return made


def _cells(row: dict[str, Any]) -> list[str]:
    training, inference, torch = row["training"], row["inference"], row["torch"]
    low, high = training["quartiles_seconds"]
    memory, fed = row["memory_bytes"], row["input"].get("fraction_of_step")
    best = torch["training"]
    return [
        f"{row['row']} {row['dtype']}",
        _shape(row["degraded_shape"]),
        f"{1e3 * training['median_seconds']:.1f} [{1e3 * low:.1f}, {1e3 * high:.1f}]",
        _three(training["images_per_second"]),
        _three(training["voxels_per_second"] / 1e6),
        f"{1e3 * inference['median_seconds']:.1f}",
        _three(row["operations"]["model_training"] / 1e9),
        f"{training['mfu']:.1%}",
        f"{row['compile_seconds']['training']:.1f}",
        "–" if memory is None else f"{memory['temporary'] / MIB:.0f}",
        "–" if fed is None else f"{fed:.1%}",
        _ratio(torch["training"]),
        _ratio(torch["inference"]),
        "–" if best is None else best["best"],
    ]


def _quality(row: dict[str, Any]) -> list[str]:
    found = row.get("quality", {}).get("restored", {})
    digits = {"psnr": 2, "ssim": 4}
    return [f"{found[k]:.{d}f}" if k in found else "–" for k, d in digits.items()]


def _ratio(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['torch_over_ours']:.2f}"


def _three(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:.0f}"


def _shape(shape: Any) -> str:
    shape = shape["image"] if isinstance(shape, dict) else shape
    return "x".join(map(str, shape))


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the table has no room for: what was left out, what does not agree, what is slower."""
    lines = []
    for row in rows:
        name, operations = f"{row['row']} {row['dtype']}", row["operations"]
        if not operations["agree"]:
            lines.append(
                f"{name}: the program has {operations['disagreement']:.1%} other operations than "
                "the algebra asks for; its MFU is not to be trusted"
            )
        lines += [f"{name}: not counted: {what}" for what in operations["uncounted"]]
        lines += [f"{name}: {x['name']}: {x['reason']}" for x in row["torch"]["left_out"]]
        if "missing" in row["input"]:
            lines.append(f"{name}: input not measured: {row['input']['missing']}")
        if "missing" in row.get("quality", {}):
            lines.append(f"{name}: not judged: {row['quality']['missing']}")
        for what in ("training", "inference"):
            found = row["torch"][what]
            if found and found["torch_over_ours"] < 1:
                lines.append(
                    f"{name}, {what}: PyTorch ({found['best']}) takes "
                    f"{found['torch_over_ours']:.2f} of our time"
                )
    return lines
