"""The faults: each strikes real runs and has them go on."""

import contextlib
import errno
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.soak.experiment import SPOILT
from benchmarks.soak.look import look
from benchmarks.soak.promises import broken_full, broken_resume
from benchmarks.soak.session import Session
from benchmarks.soak.state import SAVE_EVERY, Soak

KILL = "kill -9"
# Saves are short, so they are aimed at as often as all steps between them.
TARGETS = (
    *("start-up", "steps", "save", "compile", "save"),
    *("steps", "save", "evaluation", "steps", "save"),
)
TMPFS_MIB = 6
TRAINING = ("steps", "save", "evaluation")


def moments(count: int, seed: int) -> list[tuple[str, float]]:
    """The phase that each kill aims at, and a random share of that phase to wait."""
    draw = random.Random(seed)
    return [(TARGETS[i % len(TARGETS)], draw.random()) for i in range(count)]


def reach(session: Session, target: str, share: float, pace: dict[str, float]) -> None:
    """Waits for a moment inside a phase, or for the session's end."""
    if target == "start-up":
        session.sleep(share * pace.get("start-up", 1.0))
    elif target == "compile":
        session.wait(lambda now: now != "start-up")
        session.sleep(share * pace.get("compile", 1.0))
    elif target == "evaluation":
        session.wait(lambda now: now == "evaluation")
        session.sleep(share * pace.get("evaluation", 1.0))
    else:
        run_on(session, share)
        if target == "save":
            session.wait(lambda now: now in ("save", "evaluation"))


def run_on(session: Session, share: float) -> None:
    """Waits until a session has done a share of the steps of three saves.

    Counted in steps: how long one takes depends on who else uses the machine.
    """
    steps = 1 + int(share * 3 * SAVE_EVERY)
    session.wait(
        lambda now: (
            now == "evaluation"
            or (now in TRAINING and session.newest_row >= (session.resumed or 0) + steps)
        )
    )


def kills(soak: Soak, count: int, seed: int, tell: Callable[[str], None]) -> None:
    """`kill -9` at random moments; a run that comes to its end is compared and another begun."""
    run = soak.fresh("kill")
    for number, (target, share) in enumerate(moments(count, seed), start=1):
        code = 0
        while code == 0:
            with soak.session(run) as session:
                reach(session, target, share, soak.pace)
                code = session.end(signal.SIGKILL)
            if code == 0:
                soak.ended(KILL, session, code)
                run = soak.fresh("kill")
        detail = f"aimed at {target}, {session.seconds:.1f} s after its start"
        strike = soak.struck(KILL, session, code, detail=detail, expected=(-signal.SIGKILL,))
        tell(f"kill {number} of {count}: in {strike.phase}, after step {strike.at}")
        if strike.phase == "evaluation" or number == count:
            # It has no steps left to be killed in.
            soak.finish(KILL, run)
            run = soak.fresh("kill")


def terminated(soak: Soak, draw: random.Random, times: int) -> None:
    """SIGTERM, as a scheduler sends it before it takes the machine: saves, and ends with 0."""
    run = soak.fresh("sigterm")
    for _ in range(times):
        with soak.session(run) as session:
            run_on(session, draw.random())
            code = session.end(signal.SIGTERM)
        pattern = rf"^stopped after step \d+ of {soak.steps}; all is saved in "
        strike = soak.struck("SIGTERM", session, code, detail="", expected=(0,), pattern=pattern)
        if look(run).newest < strike.at:
            strike.broken.append(f"step {strike.at} was done and not saved")
    soak.finish("SIGTERM", run)


def flipped(soak: Soak, draw: random.Random, times: int) -> None:
    """Bytes of the newest checkpoint altered: of the arrays, and of any file, in turn."""
    fault, run = "checkpoint bytes flipped", soak.fresh("flip")
    for number in range(times):
        with soak.session(run) as session:
            # The checkpoint before must be there to fall back to.
            session.wait(lambda _: len(look(run).saved) > 1 and session.resumed is not None)
            session.end(signal.SIGKILL)
        newest = look(run).newest
        files = sorted(p for p in _checkpoint(run, newest).rglob("*") if p.stat().st_size)
        files = [p for p in files if p.is_file()]
        arrays = [p for p in files if p.parent == _checkpoint(run, newest) / "state" / "d"]
        file = draw.choice(arrays if number % 2 == 0 else files)
        at = flip(file, draw)
        with soak.session(run) as session:
            session.wait(lambda now: now != "start-up")
            code = session.end(signal.SIGKILL)
        # A flip in a file that decides nothing, such as a time stamp, is not noticed.
        noticed = session.resumed != newest
        relative = file.relative_to(run)
        strike = soak.struck(
            fault,
            session,
            code,
            detail=f"bytes {at} of {relative}{'' if noticed else ', which decide nothing'}",
            expected=(-signal.SIGKILL,),
            pattern=rf"{run.name}/checkpoints/{newest}: " if noticed else "",
        )
        strike.at = session.before.row
        assert session.resumed is not None
        strike.lost = strike.at - session.resumed
        strike.broken += broken_resume(
            at=strike.at,
            saved=session.before.saved,
            resumed=session.resumed,
            save_every=SAVE_EVERY,
            spoilt=1,
        )
    soak.finish(fault, run)


def flip(file: Path, draw: random.Random, count: int = 3) -> list[int]:
    """Alters `count` bytes of a file at random places; answers where."""
    content = bytearray(file.read_bytes())
    places = sorted(draw.sample(range(len(content)), min(count, len(content))))
    for place in places:
        content[place] ^= draw.randrange(1, 256)
    file.write_bytes(content)
    return places


def _checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / str(step)


def filled(soak: Soak, draw: random.Random, times: int) -> str:
    """The disk of the run folder full, in a save and between saves; answers how that was done."""
    fault = "disk full"
    with small_disk(soak.folder / "disk") as mounted:
        run = soak.folder / "disk" / "run"
        way = f"a tmpfs of {TMPFS_MIB} MiB" if mounted else "RLIMIT_FSIZE (no tmpfs allowed)"
        for number in range(times):
            target = ("save", "steps")[number % 2]
            with soak.session(run) as session:
                reach(session, target, draw.random(), soak.pace)
                filler, before = run.with_name("filler"), look(run).saved
                if mounted:
                    fill(filler)
                else:
                    room = len(session.said) + 8192
                    resource.prlimit(session.process.pid, resource.RLIMIT_FSIZE, (room, room))
                row = session.newest_row
                code = session.finish()
                filler.unlink(missing_ok=True)
            pattern = rf"^medjax: .*{run}.*(No space left|[Ff]ile too large)"
            detail = f"{way}, aimed at {target}"
            strike = soak.struck(
                fault, session, code, detail=detail, expected=(2,), pattern=pattern
            )
            strike.broken += broken_full(
                filled=row,
                at=strike.at,
                before=before,
                saved=look(run).saved,
                save_every=SAVE_EVERY,
            )
        soak.finish(fault, run)
    return way


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """The folder as a small file system of its own; False where that is not allowed."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "medjax-soak", str(folder)]
    mounted = bool(mount) and not subprocess.run(command, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(filler: Path) -> None:
    """Writes zeros until the disk is full."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def vanished(soak: Soak, draw: random.Random) -> None:
    """The files of the prepared dataset taken away: before the start, and while it trains."""
    fault = "data file gone"
    home = soak.folder / "home"
    run = soak.fresh("gone")
    with away(sorted(home.rglob("*-train.array_record*"))), soak.session(run) as session:
        code = session.finish()
    pattern = r"^medjax: .*ct_samples.*-train\..*cannot be read"
    soak.struck(fault, session, code, detail="before start", expected=(2,), pattern=pattern)
    with soak.session(run) as session:
        run_on(session, draw.random())
        with away(sorted(home.rglob("*.array_record*"))):
            code = session.finish()
    pattern = r"^medjax: .*ct_samples.*cannot be read"
    soak.struck(fault, session, code, detail="mid-run", expected=(2,), pattern=pattern)
    soak.finish(fault, run)


@contextlib.contextmanager
def away(files: list[Path]) -> Iterator[None]:
    """Files under another name while the block runs."""
    assert files
    hidden = [file.rename(file.with_name(f"hidden-{file.name}.away")) for file in files]
    try:
        yield
    finally:
        for file, other in zip(files, hidden, strict=True):
            other.rename(file)


def spoilt(soak: Soak, draw: random.Random, times: int) -> None:
    """NaN in what is read for a batch."""
    fault, run = "NaN in a batch", soak.fresh("nan")
    marker = Path(soak.environment[SPOILT])
    for _ in range(times):
        with soak.session(run) as session:
            run_on(session, draw.random())
            marker.touch()
            code = session.finish()
            marker.unlink()
        pattern = r"^medjax: step \d+: \w+ is nan; (last good checkpoint: \S+|no checkpoint was)"
        soak.struck(fault, session, code, detail="", expected=(2,), pattern=pattern)
    soak.finish(fault, run)
