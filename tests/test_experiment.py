import dataclasses
import json
from pathlib import Path

import pytest

from medjax import experiment as experiments
from medjax import run
from medjax.errors import UserError
from medjax.experiment import (
    SETTINGS,
    Devices,
    Experiment,
    find,
    from_dict,
    load,
    published,
    read,
    to_dict,
)


@pytest.mark.parametrize("name", published())
@pytest.mark.parametrize("setting", SETTINGS)
def test_published_experiments_survive_json(name: str, setting: str) -> None:
    experiment = load(find(name), setting)
    assert experiment.name == name
    assert from_dict(json.loads(json.dumps(to_dict(experiment)))) == experiment


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean quickstart"):
        find("quikstart")


def test_unlike_anything_points_to_the_list() -> None:
    with pytest.raises(UserError, match="medjax list"):
        find("zzzzzz")


def test_a_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import dataclasses\n"
        "from medjax.experiment import find, load\n"
        "cpu = dataclasses.replace(load(find('quickstart'), 'cpu'), name='mine', seed=3)\n"
    )
    assert load(find(str(file)), "cpu").seed == 3
    with pytest.raises(UserError, match="'full'; it has cpu"):
        load(file, "full")


@pytest.mark.parametrize(
    ("text", "why"),
    [("cpu = ", "SyntaxError"), ("import nothing_here", "ModuleNotFoundError"), ("", "neither")],
)
def test_a_file_that_does_not_run_says_why_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(UserError, match=why) as caught:
        load(file, "cpu")
    assert "\n" not in str(caught.value)


def test_json_cannot_name_classes_outside_medjax() -> None:
    with pytest.raises(UserError, match="subprocess:Popen"):
        from_dict({"kind": "subprocess:Popen", "args": ["true"]})


def test_json_with_an_unknown_field_is_refused() -> None:
    data = to_dict(load(find("quickstart"), "cpu"))
    data["schedule"]["colour"] = 1
    with pytest.raises(UserError, match="no field 'colour'"):
        from_dict(data)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"experiment": 3}'])
def test_a_folder_that_is_no_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(UserError):
        read(tmp_path / "experiment.json")


def test_every_field_is_documented() -> None:
    for part in (Experiment, experiments.Data, experiments.Schedule, experiments.Keep):
        for field in dataclasses.fields(part):
            assert f"{field.name}: " in (part.__doc__ or ""), f"{part.__name__}.{field.name}"


def test_devices_of_an_older_run_are_those_that_share_its_batch() -> None:
    data = to_dict(load(find("quickstart"), "cpu")) | {"devices": 8}
    assert from_dict(data).devices == Devices(data=8, space=1, fsdp=False)


def test_how_work_is_split_or_kept_does_not_tell_runs_apart(tmp_path: Path) -> None:
    plain = load(find("ldct_cgan"), "cpu")
    split = dataclasses.replace(
        plain,
        devices=Devices(4, 2, fsdp=True),
        network=dataclasses.replace(plain.network, remat="blocks"),
    )
    other = dataclasses.replace(plain, network=dataclasses.replace(plain.network, dtype="bfloat16"))
    assert run.identity(split) == run.identity(plain) != run.identity(other)
    # As it was before either could be chosen.
    assert run.identity(plain)["devices"] == 1
    assert "remat" not in run.identity(plain)["network"]
    (tmp_path / "experiment.json").write_text(
        json.dumps({"experiment": to_dict(plain) | {"devices": 8}})
    )
    assert run.identity(split, tmp_path)["devices"] == 8


def test_devices_below_one_are_refused() -> None:
    with pytest.raises(UserError, match="space 0"):
        Devices(space=0)
