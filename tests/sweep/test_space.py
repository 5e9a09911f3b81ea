"""Fields by their dotted names, grids and ranges, and what is refused."""

import dataclasses

import pytest

from medjax.errors import UserError
from medjax.experiment import find, load
from medjax.sweep import space


@pytest.fixture(scope="module")
def experiment():
    return load(find("quickstart"), "cpu")


def test_leaves_are_the_fields_that_train_shows(experiment) -> None:
    fields = space.leaves(experiment)
    assert fields["method.weights.adversarial"] == experiment.method.weights.adversarial
    assert fields["schedule.peak"] == experiment.schedule.peak
    assert "method" not in fields and "method.weights" not in fields


def test_replaced_changes_the_named_fields_and_nothing_else(experiment) -> None:
    changes = {"method.weights.adversarial": 0.5, "schedule.peak": 0.25, "seed": 7}
    changed = space.replaced(experiment, changes)
    before, after = space.leaves(experiment), space.leaves(changed)
    assert {k: v for k, v in after.items() if before[k] != v} == changes
    assert space.replaced(changed, {k: before[k] for k in changes}) == experiment


def test_fields_that_only_fit_together_are_replaced_together(experiment) -> None:
    wide = space.replaced(experiment, {"tiling.size": 512, "tiling.overlap": 256})
    assert wide.tiling == dataclasses.replace(experiment.tiling, size=512, overlap=256)
    with pytest.raises(UserError, match="overlap"):
        space.replaced(experiment, {"tiling.overlap": 256})


def test_a_grid_is_every_combination_in_order() -> None:
    choices = [space.Choice("a", ("1", "2"), (1, 2)), space.Choice("b", ("x", "y"), ("x", "y"))]
    assert list(space.grid(choices)) == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
    ]


def test_ranges(experiment) -> None:
    assert space.parse_range(experiment, "schedule.peak=1e-4:1e-2:log") == space.Range(
        "schedule.peak", 1e-4, 1e-2, log=True
    )
    assert space.parse_range(experiment, "--schedule.warmup=0:50") == space.Range(
        "schedule.warmup", 0, 50, whole=True
    )
    assert space.parse_range(experiment, "data.patch=32:64").whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schedule.peak", "FIELD=LOW:HIGH"),
        ("schedule.peak=1", "FIELD=LOW:HIGH"),
        ("schedule.peak=1:2:lin", "FIELD=LOW:HIGH"),
        ("schedule.peek=1:2", "did you mean schedule.peak"),
        ("schedule.peak=a:b", "takes numbers"),
        ("schedule.peak=1:nan", "less than"),
        ("schedule.peak=2:1", "less than"),
        ("schedule.peak=0:1:log", "positive"),
        ("schedule.steps=1.5:3", "whole numbers"),
        ("data.name=1:2", "not a number"),
        ("tiling.ensemble=0:1", "not a number"),
    ],
)
def test_bad_ranges_end_in_one_line(experiment, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        space.parse_range(experiment, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schedule.peak", "FIELD=VALUE1"),
        ("schedule.peak=", "FIELD=VALUE1"),
        ("schedule.peak=1,,2", "FIELD=VALUE1"),
        ("method.wieghts.adversarial=1", "did you mean method.weights.adversarial"),
        ("method.weights=1", "group of fields; did you mean method.weights.adversarial"),
        ("schedule.peak=0.1,0.10", "twice"),
    ],
)
def test_bad_choices_end_in_one_line(experiment, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        space.parse_choice(experiment, text, lambda _, word: float(word))
