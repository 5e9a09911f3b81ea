"""MRI motion with k-space: what physics finds is a row of its own and the network's input."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.evaluate import contenders, judge
from medjax.physics.mri import MotionModel, line_mask, zero_filled
from medjax.physics.mri_poses import PoseSearch
from medjax.tasks.mri_kspace import CORRECTED, MRIKSpaceMotion
from medjax.tasks.mri_motion import MRIMotion

MOTION = MotionModel(3, 2.5, 2.5, pattern="walk")
SEARCH = PoseSearch(lines=(0.5, 1.0), evaluations=(12, 12), others=1.0, inner=2, final=4)
TASK = MRIKSpaceMotion(motion=MOTION, search=SEARCH, noise=0.005)


def test_physics_is_a_row_and_the_input_of_the_network(small_head) -> None:
    seen = []

    def network(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image

    rows = contenders(TASK, (), ("network", network))
    judged = next(iter(judge(TASK, [small_head], rows, seed=3)))
    values = {name: row["mae_percent"] for name, row in judged.values.items()}
    assert values["with motion"] > 8
    assert values[CORRECTED] < 0.6 * values["with motion"]
    assert values["network"] == values[CORRECTED]
    np.testing.assert_array_equal(seen[-1], judged.images[CORRECTED])
    # Found once: the row and the network share it.
    assert judged.case.network_input is judged.images[CORRECTED]


def test_the_degraded_scan_is_that_of_the_image_only_task(small_head) -> None:
    """The same heads move alike; only the noise is drawn otherwise."""
    still = {f.name: getattr(TASK, f.name) for f in dataclasses.fields(MRIMotion)}
    quiet = {**still, "noise": 0.0, "bias": 0.2}
    ours = MRIKSpaceMotion(**quiet).simulate(small_head, 3)
    theirs = MRIMotion(**quiet).simulate(small_head, 3)
    np.testing.assert_array_equal(ours.reference, theirs.reference)
    np.testing.assert_allclose(ours.degraded, theirs.degraded, atol=1e-5)


def test_fewer_lines_of_a_still_head_are_those_of_its_image(small_head) -> None:
    task = dataclasses.replace(TASK, noise=0.0, motion=MotionModel(1, 0.0, 0.0), acceleration=2.0)
    case = task.simulate(small_head, 0)
    lines = case.reference.shape[1]
    expected = zero_filled(jnp.asarray(case.reference), line_mask(lines, 2.0, lines // 8), (1,))
    np.testing.assert_allclose(case.degraded, np.abs(expected), atol=1e-5)


@pytest.mark.parametrize("noise", [0.02])
def test_the_noise_has_the_strength_it_is_said_to_have(small_head, noise) -> None:
    task = dataclasses.replace(TASK, noise=noise, motion=MotionModel(1, 0.0, 0.0))
    case = task.simulate(small_head, 0)
    bright = case.reference > 0.5
    error = (case.degraded - case.reference)[bright]
    assert np.std(error) == pytest.approx(noise, rel=0.1)
