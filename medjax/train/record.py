"""What a checkpoint says beside its state, under a seal, and whether it belongs to this run."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from medjax.errors import UserError
from medjax.train import digest

FORMAT = 1


class BrokenError(Exception):
    """A checkpoint that does not verify, and why."""


def write(
    step: int,
    leaves: Mapping[str, Any],
    *,
    identity: Any,
    experiment: Any,
    position: Any,
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """The sealed record of a step: `leaves` are the state's arrays by path."""
    return digest.seal(
        {
            "format": FORMAT,
            "step": step,
            "identity": identity,
            "experiment": experiment,
            "iterator": None if position is None else _encode(position),
            "metrics": dict(metrics),
            "leaves": digest.spec_of(leaves),
            "digest": digest.digest_arrays(leaves),
        }
    )


def read(path: Path, step: int) -> dict[str, Any]:
    """The record in the folder `path` of checkpoint `step`.

    Raises:
        BrokenError: it is missing, cut short or altered.
        UserError: a medjax of another format wrote it.
    """
    try:
        handler = ocp.JsonCheckpointHandler(multiprocessing_options=_alone())
        with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader:
            record = reader.restore(path)
    except (OSError, ValueError, KeyError) as error:
        raise BrokenError(f"its record cannot be read ({first_line(error)})") from error
    if not digest.is_sealed(record):
        raise BrokenError("its record does not match the record's own digest")
    if record["format"] != FORMAT:
        raise UserError(
            f"{path.parent}: written by another medjax (format {record['format']}, "
            f"this one reads {FORMAT}); use that version"
        )
    if record["step"] != step:
        raise BrokenError(f"it holds step {record['step']}")
    return record


def read_state(path: Path, like: Any) -> Any:
    """The arrays in the folder `path` as `like` describes and places them.

    Raises:
        BrokenError: they cannot be read.
    """
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as reader:
            return reader.restore(path, like)
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    # The record says that structure, shapes and types fit and memory did not run out, so what
    # fails now is the file; for that Orbax raises, among others, a bare Exception.
    except Exception as error:
        raise BrokenError(f"its state cannot be read ({first_line(error)})") from error


def _alone() -> ocp.options.MultiprocessingOptions:
    """Reading waits for no other process: one may fail where others do not."""
    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"alone{here}"
    )


def position(record: Mapping[str, Any]) -> Any:
    """The iterator state that was passed to `write`, or None."""
    saved = record["iterator"]
    return None if saved is None else _decode(saved)


def plain(value: Mapping[str, Any]) -> Any:
    """As JSON gives it back: tuples are lists, keys are strings."""
    return digest.seal({"value": value})["value"]


def first_line(error: Exception) -> str:
    """The beginning of an error message, for a message of our own."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]


def check_identity(path: Path, saved: Any, wanted: Any) -> None:
    """Raises UserError naming the first field in which two identities differ."""
    if saved == wanted:
        return
    name, was, now = _first_difference(saved, wanted, "")
    raise UserError(
        f"{path}: belongs to another experiment: {name} is {was} there and {now} here; "
        "choose another run folder, or set it back"
    )


def _first_difference(saved: Any, wanted: Any, name: str) -> tuple[str, str, str]:
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in saved if key not in wanted)]:
            field_name = f"{name}.{key}" if name else key
            if key not in saved or key not in wanted:
                was = repr(saved[key]) if key in saved else "absent"
                return field_name, was, repr(wanted[key]) if key in wanted else "absent"
            if saved[key] != wanted[key]:
                return _first_difference(saved[key], wanted[key], field_name)
    return name or "it", repr(saved), repr(wanted)


def check_leaves(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises UserError naming the first array whose type or shape differs."""
    for leaf in [*wanted, *(leaf for leaf in saved if leaf not in wanted)]:
        if saved.get(leaf) != wanted.get(leaf):
            raise UserError(
                f"{path}: state{leaf} is {saved.get(leaf, 'absent')} there and "
                f"{wanted.get(leaf, 'absent')} here; the model or method changed since it was saved"
            )


def _encode(state: Any) -> dict[str, Any]:
    if isinstance(state, bytes):
        return {"bytes": base64.b64encode(state).decode()}
    return {"json": state}


def _decode(state: Mapping[str, Any]) -> Any:
    return base64.b64decode(state["bytes"]) if "bytes" in state else state["json"]
