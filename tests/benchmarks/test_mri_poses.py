"""The benchmark of the poses, on a small head whose poses are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.mri_poses import TITLES, errors, main, measured
from medjax.physics.mri import MotionModel, Poses
from medjax.physics.mri_poses import PoseSearch
from medjax.tasks.mri_kspace import MRIKSpaceMotion


def test_found_poses_are_worth_something_and_true_ones_more(small_head) -> None:
    search = PoseSearch(lines=(0.5, 1.0), evaluations=(20, 20), others=1.0)
    motion = MotionModel(4, 2.5, 2.5, pattern="walk")
    task = MRIKSpaceMotion(motion=motion, search=search, noise=0.005)
    (row,) = measured(task, [small_head], 1)
    assert set(TITLES) < set(row)
    assert row["with_motion"] + 3 < row["found"] < row["true"] + 0.5
    assert row["mae_found"] < row["mae_with_motion"]
    assert row["inner_mm"] < 1 and row["seconds"] > 0


def test_errors_are_root_mean_squares_near_the_centre_and_beyond() -> None:
    true = Poses(jnp.zeros((8, 3)), jnp.zeros((8, 3)))
    away = np.abs(np.arange(8) - 4) > 2
    found = Poses(jnp.where(away[:, None], 3.0, 1.0), jnp.where(away[:, None], 4.0, 2.0))
    expected = {"inner_mm": 1, "outer_mm": 3, "inner_degrees": 2, "outer_degrees": 4}
    assert errors(found, true) == pytest.approx(expected)


def test_a_split_that_is_not_there_is_one_line(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path))
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    assert main(["--splits", "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [["--draws", "0"], ["--noise", "-1"], ["--noise", "much"], ["--no-such-flag"], ["--out", "."]],
)
def test_a_wrong_argument_is_one_line(capsys, wrong) -> None:
    assert main(wrong) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and not said.out
