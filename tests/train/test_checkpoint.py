"""Checkpoints: damage is named, other experiments are refused, the right ones are kept."""

import gc
import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from medjax.errors import UserError
from medjax.train import digest, mesh
from medjax.train.checkpoint import Checkpoints
from medjax.train.health import Diverged

IDENTITY = {"name": "toy", "method": {"weights": (0.01, 0.99), "model": "unet"}}
DAMAGES = ("flip", "cut", "empty", "remove")


class Position:
    """The part of a Grain iterator that checkpoints touch."""

    def __init__(self, at: int = 0) -> None:
        self.at = at

    def __next__(self):
        self.at += 1
        return {}

    def get_state(self):
        return {"next": self.at}

    def set_state(self, state):
        self.at = state["next"]


def state_at(step: int) -> dict:
    rng = np.random.default_rng(step)
    kernel = rng.normal(size=(64, 33)).astype(np.float32)
    return {
        "params": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(3, jnp.bfloat16)},
        "count": jnp.asarray(step, jnp.int32),
    }


def like(place=None) -> dict:
    place = place or mesh.replicated(mesh.make())
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), state_at(0)
    )


def assert_is(state: dict, step: int) -> None:
    for found, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(state_at(step)), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def write(folder: Path, steps=(10, 20), **options) -> Path:
    with Checkpoints(folder, IDENTITY, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step), Position(step), {"psnr": float(step % 7)})
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("pair") / "checkpoints")


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 0x10
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    path.write_bytes(content)
    if how == "remove":
        path.unlink()


def files_of(pair: Path) -> list[Path]:
    return sorted(path.relative_to(pair) for path in (pair / "20").rglob("*") if path.is_file())


def test_the_newest_comes_back_with_its_position(pair):
    position = Position()
    with Checkpoints(pair, IDENTITY, read_only=True) as checkpoints:
        restored = checkpoints.restore_newest(like(), position)
    assert restored is not None
    assert (restored.step, restored.skipped, position.at) == (20, (), 20)
    assert_is(restored.state, 20)


def test_nothing_to_restore_is_none(tmp_path):
    with Checkpoints(tmp_path / "none", IDENTITY) as checkpoints:
        assert checkpoints.restore_newest(like(), Position()) is None


# Where one array cannot be read, Orbax abandons the coroutines that read the others.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", DAMAGES)
def test_damage_to_any_file_never_gives_a_wrong_state(pair, tmp_path, how):
    caught = []
    for number, name in enumerate(files_of(pair)):
        folder = tmp_path / str(number)
        shutil.copytree(pair, folder)
        damage(folder / name, how)
        position = Position()
        with Checkpoints(folder, IDENTITY) as checkpoints:
            restored = checkpoints.restore_newest(like(), position)
        assert restored is not None
        assert_is(restored.state, restored.step)
        assert position.at == restored.step
        if restored.step == 10:
            caught.append(name)
            assert len(restored.skipped) == 1
            assert restored.skipped[0].startswith(str(folder / "20"))
            assert (folder / "broken-20").is_dir()
    gc.collect()
    # The two that hold what matters: the arrays' bytes and the record.
    payload = max(files_of(pair), key=lambda name: (pair / name).stat().st_size)
    assert payload in caught
    assert Path("20/record/metadata") in caught


def test_after_damage_the_step_can_be_saved_again(pair, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pair, folder)
    damage(folder / "20" / "record" / "metadata", "flip")
    with Checkpoints(folder, IDENTITY) as checkpoints:
        assert checkpoints.restore_newest(like(), Position()).step == 10
        checkpoints.save(20, state_at(20), Position(20))
    with Checkpoints(folder, IDENTITY) as checkpoints:
        assert_is(checkpoints.restore_newest(like(), Position()).state, 20)


def test_when_nothing_verifies_the_run_does_not_start_again_by_itself(pair, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pair, folder)
    for step in (10, 20):
        damage(folder / str(step) / "record" / "metadata", "cut")
    with (
        Checkpoints(folder, IDENTITY) as checkpoints,
        pytest.raises(UserError, match=r"20: .*10: "),
    ):
        checkpoints.restore_newest(like(), Position())
    assert (folder / "10").is_dir() and (folder / "20").is_dir()


def test_a_record_with_a_changed_position_is_refused(pair, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pair, folder)
    path = folder / "20" / "record" / "metadata"
    record = json.loads(path.read_text())
    record["iterator"]["json"]["next"] = 21
    path.write_text(json.dumps(record))
    with Checkpoints(folder, IDENTITY) as checkpoints:
        assert checkpoints.restore_newest(like(), Position()).step == 10


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({**IDENTITY, "name": "other"}, "name is 'toy' there and 'other' here"),
        (
            {"name": "toy", "method": {"weights": (0.01, 0.5), "model": "unet"}},
            r"method.weights is \[0.01, 0.99\] there",
        ),
        ({**IDENTITY, "extra": 1}, "extra is absent there and 1 here"),
        ({"name": "toy"}, "method is .* there and absent here"),
    ],
)
def test_another_experiment_is_refused_by_the_field_that_differs(pair, identity, message):
    with (
        Checkpoints(pair, identity, read_only=True) as checkpoints,
        pytest.raises(UserError, match=message),
    ):
        checkpoints.restore_newest(like(), Position())


def test_other_model_code_is_named_and_is_no_damage(pair):
    wanted = like()
    wanted["params"]["kernel"] = jax.ShapeDtypeStruct(
        (64, 34), np.float32, sharding=wanted["count"].sharding
    )
    with (
        Checkpoints(pair, IDENTITY, read_only=True) as checkpoints,
        pytest.raises(UserError, match=r"\['kernel'\] is .*33.* there and .*34.* here"),
    ):
        checkpoints.restore_newest(wanted, Position())


def test_keeps_the_newest_and_the_best(tmp_path):
    # psnr is step % 7: 4, 6, 2, 5, 1
    folder = write(tmp_path / "max", (4, 6, 9, 12, 15), best_metric="psnr")
    with Checkpoints(folder, IDENTITY, best_metric="psnr") as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([6, 12, 15], 6)
        assert checkpoints.restore_state("best", like()).step == 6
    folder = write(tmp_path / "min", (8, 11, 12, 13), best_metric="psnr", best_mode="min")
    with Checkpoints(folder, IDENTITY, best_metric="psnr", best_mode="min") as checkpoints:
        assert (checkpoints.steps(), checkpoints.best_step()) == ([8, 12, 13], 8)
    assert Checkpoints(write(tmp_path / "none", (1, 2, 3)), IDENTITY).steps() == [2, 3]


def test_the_best_survives_a_restart(tmp_path):
    folder = write(tmp_path / "checkpoints", (6, 8), best_metric="psnr")
    write(folder, (9, 10, 11), best_metric="psnr")
    assert Checkpoints(folder, IDENTITY).steps() == [6, 10, 11]


def test_a_damaged_best_gives_way_to_the_next(tmp_path):
    folder = write(tmp_path / "checkpoints", (6, 8, 9), best_metric="psnr")
    damage(folder / "6" / "state" / "manifest.ocdbt", "empty")
    with Checkpoints(folder, best_metric="psnr", read_only=True) as checkpoints:
        restored = checkpoints.restore_state("best", like())
    assert restored.step == 9
    assert "6" in restored.skipped[0]


def test_restore_state_names_what_is_missing_or_broken(pair, tmp_path):
    with Checkpoints(pair, read_only=True) as checkpoints:
        assert_is(checkpoints.restore_state(10, like()).state, 10)
        assert_is(checkpoints.restore_state("newest", like()).state, 20)
        with pytest.raises(UserError, match=r"step 15 .*\[10, 20\]"):
            checkpoints.restore_state(15, like())
    folder = tmp_path / "checkpoints"
    shutil.copytree(pair, folder)
    damage(folder / "20" / "record" / "metadata", "flip")
    with Checkpoints(folder, read_only=True) as checkpoints:
        with pytest.raises(UserError, match="record"):
            checkpoints.restore_state(20, like())
        assert checkpoints.restore_state("newest", like()).step == 10
    assert (folder / "20").is_dir()


def test_reading_changes_nothing_on_disk(pair, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pair, folder)
    (folder / "30.orbax-checkpoint-tmp").mkdir()
    before = sorted(str(path) for path in folder.rglob("*"))
    with Checkpoints(folder, read_only=True, best_metric="psnr") as checkpoints:
        checkpoints.restore_state("best", like())
        assert checkpoints.experiment(20)["identity"]["name"] == "toy"
    assert sorted(str(path) for path in folder.rglob("*")) == before
    Checkpoints(tmp_path / "absent", read_only=True).close()
    assert not (tmp_path / "absent").exists()


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    folder = write(tmp_path / "checkpoints", (10,))
    bad = state_at(20)
    bad["params"]["kernel"] = bad["params"]["kernel"].at[3, 4].set(jnp.nan)
    with Checkpoints(folder, IDENTITY) as checkpoints:
        with pytest.raises(Diverged, match=r"step 20: state.*kernel.*1 values.*checkpoints/10"):
            checkpoints.save(20, bad, Position())
        assert checkpoints.steps() == [10]
        bad["params"] = {"best_loss": jnp.asarray(jnp.inf)}
        checkpoints.save(30, bad, Position())


def test_a_sharded_state_moves_to_another_mesh(tmp_path):
    placed = mesh.make()
    split = jax.NamedSharding(placed, P("data"))
    state = state_at(10)
    state["params"]["kernel"] = jax.device_put(state["params"]["kernel"], split)
    with Checkpoints(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(10, state, Position())
    for place in (mesh.replicated(mesh.make(1)), mesh.replicated(placed)):
        with Checkpoints(tmp_path, IDENTITY) as checkpoints:
            restored = checkpoints.restore_newest(like(place)).state
        assert_is(restored, 10)
        assert restored["params"]["kernel"].sharding.is_equivalent_to(place, 2)
    wanted = like()
    wanted["params"]["kernel"] = jax.ShapeDtypeStruct((64, 33), np.float32, sharding=split)
    with Checkpoints(tmp_path, IDENTITY) as checkpoints:
        restored = checkpoints.restore_newest(wanted).state
    assert {shard.data.shape for shard in restored["params"]["kernel"].addressable_shards} == {
        (8, 33)
    }
    assert_is(restored, 10)


def test_bytes_of_a_data_loader_come_back_as_bytes(tmp_path):
    class Loader(Position):
        def get_state(self):
            return json.dumps({"at": self.at}).encode() + b"\xff"

        def set_state(self, state):
            self.at = json.loads(state[:-1])["at"]

    with Checkpoints(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(10, state_at(10), Loader(33))
        loader = Loader()
        checkpoints.restore_newest(like(), loader)
    assert loader.at == 33


def test_a_donated_state_is_saved_as_it_was(tmp_path):
    overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = jax.device_put(state_at(10), mesh.replicated(mesh.make()))
    with Checkpoints(tmp_path, IDENTITY) as checkpoints:
        checkpoints.save(10, state, Position())
        jax.block_until_ready(overwrite(state))
    with Checkpoints(tmp_path, IDENTITY) as checkpoints:
        assert_is(checkpoints.restore_newest(like()).state, 10)


def test_a_seal_is_sha256_of_the_sorted_json():
    sealed = digest.seal({"b": (1, 2.5), "a": "ü"})
    text = r'{"a": "\u00fc", "b": [1, 2.5]}'
    assert sealed["seal"] == hashlib.sha256(text.encode()).hexdigest()
    assert digest.is_sealed(json.loads(json.dumps(sealed)))
    assert not digest.is_sealed({**sealed, "b": [1, 2.25]})
    assert not digest.is_sealed([])
    with pytest.raises(ValueError, match="JSON"):
        digest.seal({"a": float("nan")})


def test_the_digest_depends_on_name_type_shape_and_bytes():
    base = np.arange(6, dtype=np.int32)
    variants = [
        {"a": base},
        {"b": base},
        {"a": base.reshape(2, 3)},
        {"a": base.view(np.uint32)},
        {"a": base[::-1]},
        {"a": base[:3], "b": base[3:]},
    ]
    assert len({digest.digest_arrays(leaves) for leaves in variants}) == len(variants)
    assert digest.digest_arrays({"a": base}) == digest.digest_arrays({"a": base.copy()})
