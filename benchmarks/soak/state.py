"""The soak as it goes: sessions one after the other, what struck them, how their runs ended."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.experiment import cpu
from benchmarks.soak.promises import (
    Final,
    broken_end,
    broken_resume,
    broken_words,
    final,
    naming_line,
)
from benchmarks.soak.session import Session
from medjax.errors import UserError

SAVE_EVERY = cpu.keep.save_every
# What a session does next; saves lie among the steps.
FOLLOWING = {
    "start-up": "compile",
    "compile": "steps",
    "steps": "evaluation",
    "evaluation": "",
}


@dataclass
class Strike:
    """One fault that struck one session.

    Attributes:
      fault: its name in the tally.
      run: name of the run folder.
      detail: what exactly was done.
      phase: of `look.PHASES`, when the session ended.
      code: exit code of the session; minus the signal that ended it.
      line: what named the fault, where one line is due.
      at: last step with metrics.
      lost: steps that were done again; None until the run has gone on.
      broken: promises that did not hold.
    """

    fault: str
    run: str
    detail: str
    phase: str
    code: int
    line: str
    at: int
    lost: int | None = None
    broken: list[str] = field(default_factory=list)


@dataclass
class Ending:
    """How one run ended after all that struck it."""

    fault: str
    run: str
    broken: list[str]


class Soak:
    """All that is known of one soak.

    Args:
      folder: for run folders, datasets and compiled programs.
      steps: of each run.
      environment: of the sessions.
    """

    def __init__(self, folder: Path, steps: int, environment: Mapping[str, str]) -> None:
        self.folder, self.steps, self.environment = folder, steps, environment
        self.strikes: list[Strike] = []
        self.endings: list[Ending] = []
        # Seconds of each phase in the newest session that passed through it.
        self.pace: dict[str, float] = {}
        self.reference: Final | None = None
        self._runs = 0

    def fresh(self, fault: str) -> Path:
        """A run folder that is not there yet."""
        self._runs += 1
        return self.folder / f"{fault}-{self._runs}"

    @contextmanager
    def session(self, run: Path) -> Iterator[Session]:
        """A session in `run`; what it had to do again is held against the last strike there."""
        log = self.folder / f"{run.name}.log"
        with Session(run, self.steps, self.environment, log) as session:
            yield session
            resumed, before = session.resumed, session.before
        self._keep_pace(session)
        last = next((s for s in reversed(self.strikes) if s.run == run.name), None)
        if last is None or resumed is None or last.lost is not None:
            return
        # Nothing was lost of a run that had not begun.
        last.lost = max(before.row - resumed, 0)
        last.broken += broken_resume(
            at=before.row,
            saved=before.saved,
            resumed=resumed,
            save_every=SAVE_EVERY,
        )

    def _keep_pace(self, session: Session) -> None:
        """How long phases took in the newest session that passed through them."""
        began, ends = session.began, {**session.began, "": session.seconds}
        if session.process.returncode:
            del ends[""]
        for phase, following in FOLLOWING.items():
            if phase in began and following in ends:
                self.pace[phase] = ends[following] - began[phase]

    def struck(
        self,
        fault: str,
        session: Session,
        code: int,
        *,
        detail: str,
        expected: Sequence[int],
        pattern: str = "",
    ) -> Strike:
        """Notes how a session ended of which a fault struck."""
        said = session.said
        line = naming_line(said, pattern) if pattern else ""
        broken = broken_words(said, code=code, expected=expected, pattern=pattern)
        phase, at = session.phase(), session.newest_row
        strike = Strike(fault, session.run.name, detail, phase, code, line, at, None, broken)
        self.strikes.append(strike)
        return strike

    def finish(self, fault: str, run: Path) -> None:
        """Gives the same command again and lets the run come to its end."""
        with self.session(run) as session:
            code = session.finish()
        self.ended(fault, session, code)

    def ended(self, fault: str, session: Session, code: int) -> None:
        """Compares a run that has come to its end with the one that nothing interrupted."""
        assert self.reference is not None
        broken = broken_words(session.said, code=code, expected=(0,))
        if code == 0:
            broken += broken_end(final(session.run), self.reference)
        self.endings.append(Ending(fault, session.run.name, broken))

    def uninterrupted(self) -> None:
        """The run that all others are compared with.

        Raises:
          UserError: it does not come to its end.
        """
        run = self.fresh("uninterrupted")
        with self.session(run) as session:
            code = session.finish()
        if broken := broken_words(session.said, code=code, expected=(0,)):
            last = (session.said.splitlines() or [""])[-1]
            raise UserError(f"medjax train fails undisturbed ({'; '.join(broken)}): {last}")
        self.reference = final(run)
