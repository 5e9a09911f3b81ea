"""Which checkpoints are worth keeping for their score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class KeepBest:
    """Preserves the best steps by our own sealed records.

    Orbax's BestN reads a metrics file of its own, and a damaged one stops the manager from opening.
    """

    scores: dict[int, float] = field(default_factory=dict)
    n: int = 1

    def best(self) -> list[int]:
        """Steps from best to worst; of equals the newer first."""
        return sorted(self.scores, key=lambda step: (self.scores[step], step), reverse=True)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        present = {info.step for info in checkpoints}
        kept = [step for step in self.best() if step in present][: self.n]
        return [info.step in kept for info in checkpoints]
