"""The loop in one process: resuming, one compilation, no transfers, metrics, divergence."""

import itertools
import json
import resource
import threading
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run
from jax.experimental.compilation_cache import compilation_cache

from medjax.errors import UserError
from medjax.train import compiled, mesh, rng
from medjax.train.checkpoint import Batches, Checkpoints
from medjax.train.health import Diverged
from medjax.train.writers import read_metrics

COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory):
    before = jax.config.jax_compilation_cache_dir
    toy_run.cache_compilations(tmp_path_factory.mktemp("compiled"))
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    run = tmp_path_factory.mktemp("reference")
    result = toy_run.fit(run)
    return toy_run.fingerprint(result.state), read_metrics(run), result


def rows(run):
    return [(row.step, row.metrics) for row in read_metrics(run)]


@pytest.fixture
def compilations():
    counted = []
    active = True

    def listen(event: str, duration: float, **_) -> None:
        if active and event == COMPILE_EVENT:
            counted.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield counted
    active = False


def test_what_a_fresh_state_begins_with_is_not_given_again(tmp_path, reference):
    def begin(state):
        return state._replace(params=jax.tree.map(lambda x: 0.5 * x, state.params))

    def never(state):
        raise AssertionError("a run that goes on does not begin")

    whole = toy_run.fit(tmp_path / "whole", begin=begin)
    toy_run.fit(tmp_path / "parts", begin=begin, steps=10)
    parts = toy_run.fit(tmp_path / "parts", begin=never)
    assert toy_run.fingerprint(parts.state) == toy_run.fingerprint(whole.state) != reference[0]
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_it_learns_and_counts(reference):
    _, logged, result = reference
    assert [row.step for row in logged] == list(range(2, 25, 2))
    assert logged[-1].metrics["loss"] < 0.7 * logged[0].metrics["loss"]
    assert int(result.state.batches_seen) == result.step == toy_run.STEPS
    assert not result.interrupted
    assert result.step_seconds > 0 and result.compile_seconds > 0
    assert result.images_per_second == pytest.approx(8 / result.step_seconds)


def test_the_same_steps_by_hand_give_the_same_state(tmp_path):
    """The loop adds nothing: one device, the plain data, plain jitted functions, keys by name."""
    result = toy_run.fit(tmp_path, mesh=mesh.make(1), steps=6)
    batches = iter(toy_run.dataset(threads=0, prefetch=0))
    batch = next(batches)
    state = jax.jit(toy_run.init)(rng.stream(5, "init", 0), batch)
    step = jax.jit(toy_run.step)
    for done in range(6):
        state, _ = step(state, batch, rng.stream(5, "train", done))
        batch = next(batches)
    assert toy_run.fingerprint(state) == toy_run.fingerprint(result.state)


def test_a_run_in_pieces_equals_one_in_one(tmp_path, reference):
    for steps in (3, 4, 10, 11):
        toy_run.fit(tmp_path, steps=steps, log_every=100)
    (tmp_path / "metrics.jsonl").unlink()
    result = toy_run.fit(tmp_path)
    assert toy_run.fingerprint(result.state) == reference[0]
    assert rows(tmp_path) == [(row.step, row.metrics) for row in reference[1] if row.step > 11]


def test_a_finished_run_is_returned_as_it_is(tmp_path, reference):
    toy_run.fit(tmp_path)
    again = toy_run.fit(tmp_path)
    assert toy_run.fingerprint(again.state) == reference[0]
    assert (again.step, again.step_seconds, again.compile_seconds) == (24, None, 0.0)
    assert len(rows(tmp_path)) == 12


@pytest.mark.parametrize(("threads", "prefetch"), [(0, 0), (4, 32)])
def test_the_saved_position_is_behind_the_last_batch_used(tmp_path, threads, prefetch):
    """However much was read ahead, what follows is what follows in a plain iterator."""
    toy_run.fit(tmp_path, batches=iter(toy_run.dataset(threads, prefetch)), steps=7)
    record = json.loads((tmp_path / "checkpoints/7/record/metadata").read_text())
    resumed = iter(toy_run.dataset(1, 2))
    resumed.set_state(record["iterator"]["json"])
    plain = itertools.islice(toy_run.dataset(0, 0), 7, 12)
    for found, wanted in zip(resumed, plain, strict=False):
        np.testing.assert_array_equal(found["index"], wanted["index"])
        np.testing.assert_array_equal(found["image"], wanted["image"])


def test_nothing_compiles_after_the_first_step(tmp_path, compilations):
    at_step = {}
    toy_run.fit(tmp_path, reporter=lambda tick: at_step.update({tick.step: len(compilations)}))
    assert at_step[1] > 0
    assert at_step[24] == at_step[1]


def test_a_batch_of_another_shape_is_an_error_and_no_compilation(tmp_path):
    ragged = grain.MapDataset.source([np.zeros((4, 4, 1), np.float32)] * 12)
    ragged = ragged.map(lambda image: {"image": image, "index": np.int32(0)})
    with pytest.raises(ValueError, match=r"batch\['image'\] is \(\(4, .* had \(\(8, "):
        toy_run.fit(tmp_path, batches=iter(ragged.to_iter_dataset().batch(8)), mesh=mesh.make(4))


def test_the_state_is_donated(tmp_path):
    result = toy_run.fit(tmp_path, steps=1)
    plan = compiled.program(
        toy_run.init, toy_run.step, next(iter(toy_run.dataset())), mesh=mesh.make(), seed=0
    )
    run, _ = plan.compile()
    batch = plan.put(next(iter(toy_run.dataset())))
    before = plan.start(batch)
    run(before, batch, 0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(result.state))


def test_the_state_is_born_where_it_is_sharded(tmp_path, reference):
    def split(placed, shapes):
        def one(leaf):
            divides = leaf.ndim == 4 and leaf.shape[-1] % 2 == 0
            axes = jax.P(None, None, None, "data") if divides else jax.P()
            return jax.NamedSharding(placed, axes)

        return jax.tree.map(one, shapes)

    placed = mesh.make(2)
    toy_run.fit(tmp_path, mesh=placed, state_sharding=split, steps=4)
    result = toy_run.fit(tmp_path, mesh=placed, state_sharding=split)
    kernel = result.state.params["params"]["Conv_0"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(3, 3, 1, 2)}
    for one, other in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(reference[2].state), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("placed", [(1, 1), (4, 2)])
def test_devices_do_not_change_the_numbers(tmp_path, reference, placed):
    result = toy_run.fit(tmp_path, mesh=mesh.make(*placed))
    for one, other in zip(
        jax.tree.leaves(result.state), jax.tree.leaves(reference[2].state), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    for (step, found), row in zip(rows(tmp_path), reference[1], strict=True):
        assert step == row.step
        assert found == pytest.approx(row.metrics, rel=1e-4)


def test_the_metrics_of_a_step_are_read_after_the_next_is_dispatched(tmp_path, monkeypatch):
    events = []
    compile_ = compiled.Program.compile

    def spied(self):
        run, seconds = compile_(self)

        def call(state, batch, done, *asked):
            events.append(("dispatch", done + 1))
            return run(state, batch, done, *asked)

        return call, seconds

    monkeypatch.setattr(compiled.Program, "compile", spied)
    toy_run.fit(
        tmp_path, steps=4, save_every=4, reporter=lambda tick: events.append(("told", tick.step))
    )
    expected = [("dispatch", 1)]
    for step in (1, 2, 3):
        expected += [("dispatch", step + 1), ("told", step)]
    assert events == [*expected, ("told", 4)]


def test_between_saves_the_host_waits_for_late_metrics_alone(tmp_path, monkeypatch):
    events = []
    compile_, get = compiled.Program.compile, jax.device_get

    def spied(self):
        run, seconds = compile_(self)

        def call(state, batch, done, *asked):
            events.append("dispatch")
            return run(state, batch, done, *asked)

        return call, seconds

    def got(tree):
        events.append("get")
        return get(tree)

    def block(tree):
        events.append("block")
        return tree

    monkeypatch.setattr(compiled.Program, "compile", spied)
    monkeypatch.setattr(jax, "device_get", got)
    monkeypatch.setattr(jax, "block_until_ready", block)
    toy_run.fit(tmp_path, steps=4, save_every=4)
    # Step 1 is followed by step 2 at once; the metrics of step 4 and its state are for the save.
    assert events == ["dispatch", *("dispatch", "get") * 3, "get", "get"]


def test_a_save_that_failed_is_told_before_the_next_is_due(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = []

    def report(tick):
        told.append(tick.step)
        if tick.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
        while tick.step == 5 and any(t.name == "save_finalize" for t in threading.enumerate()):
            time.sleep(0.01)

    try:
        with pytest.raises((OSError, ValueError), match="File too large"):
            toy_run.fit(tmp_path, save_every=4, log_every=100, reporter=report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told[-1] in (4, 5)


def test_the_step_runs_under_a_transfer_guard(tmp_path, monkeypatch):
    levels = []
    compile_ = compiled.Program.compile

    def spied(self):
        run, seconds = compile_(self)

        def call(state, batch, done, *asked):
            levels.append(jax.config.jax_transfer_guard_host_to_device)
            return run(state, batch, done, *asked)

        return call, seconds

    monkeypatch.setattr(compiled.Program, "compile", spied)
    toy_run.fit(tmp_path, steps=3)
    assert levels == ["disallow"] * 3


def diverging(at: int):
    def step(state, batch, key):
        state, metrics = toy_run.step(state, batch, key)
        bad = jnp.where(state.batches_seen == at, jnp.nan, metrics["loss"])
        return state, {**metrics, "loss": bad}

    return step


def test_a_metric_that_is_not_finite_stops_the_run_and_names_the_last_checkpoint(tmp_path):
    # Step 11 is no logged step and no saved one.
    with pytest.raises(Diverged, match=r"step 11: loss is nan; .*checkpoints/8; "):
        toy_run.fit(tmp_path, step=diverging(11))
    assert [row.step for row in read_metrics(tmp_path)] == [2, 4, 6, 8, 10]
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 8]


def test_a_bad_step_that_is_due_to_be_saved_is_not(tmp_path):
    with pytest.raises(Diverged, match=r"step 4: loss is nan; no checkpoint was saved"):
        toy_run.fit(tmp_path, step=diverging(4))
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


def test_a_state_that_is_not_finite_stops_the_run_though_metrics_are(tmp_path):
    def step(state, batch, key):
        state, _ = toy_run.step(state, batch, key)
        factor = jnp.where(state.batches_seen == 7, jnp.nan, 1.0)
        return state._replace(params=jax.tree.map(lambda leaf: leaf * factor, state.params)), {
            "one": jnp.float32(1)
        }

    with pytest.raises(Diverged, match=r"step 8: state\.params.* not finite; .*checkpoints/4"):
        toy_run.fit(tmp_path, step=step)


def test_evaluation_ranks_checkpoints(tmp_path):
    scores = iter([1.0, 9.0, 3.0, 4.0, 5.0, 6.0])
    toy_run.fit(tmp_path, evaluate=lambda _: {"psnr": next(scores)}, best_metric="psnr")
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric="psnr", read_only=True)
    assert (checkpoints.steps(), checkpoints.best_step()) == ([8, 20, 24], 8)
    assert [row.metrics["psnr"] for row in read_metrics(tmp_path) if "psnr" in row.metrics] == [
        1.0, 9.0, 3.0, 4.0, 5.0, 6.0,
    ]  # fmt: skip


def test_an_evaluation_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(Diverged, match=r"step 4: psnr is inf"):
        toy_run.fit(tmp_path, evaluate=lambda _: {"psnr": float("inf")})


def test_another_experiment_or_seed_is_refused(tmp_path):
    toy_run.fit(tmp_path, steps=4)
    with pytest.raises(UserError, match=r"method.peak is 0.01 there and 0.02 here"):
        toy_run.fit(tmp_path, identity={"name": "toy", "method": {"peak": 2e-2}})
    with pytest.raises(UserError, match="seed is 5 there and 6 here"):
        toy_run.fit(tmp_path, seed=6)


def test_a_damaged_newest_checkpoint_is_named_and_the_run_ends_the_same(tmp_path, reference):
    toy_run.fit(tmp_path, steps=12)
    newest = tmp_path / "checkpoints" / "12"
    arrays = max((newest / "state").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)
    result = toy_run.fit(tmp_path)
    assert len(result.skipped_checkpoints) == 1
    assert str(newest) in result.skipped_checkpoints[0]
    assert toy_run.fingerprint(result.state) == reference[0]
    assert rows(tmp_path) == [(row.step, row.metrics) for row in reference[1]]


def test_data_that_end_too_soon_are_named(tmp_path):
    short = grain.MapDataset.source([{"image": np.zeros((8, 8, 1), np.float32), "index": 0}] * 16)
    with pytest.raises(UserError, match="data ended after 2 of 24 steps"):
        toy_run.fit(tmp_path, batches=iter(short.to_iter_dataset().batch(8)))


def test_a_step_that_does_not_fit_init_is_named(tmp_path):
    def wider(state, batch, key):
        state, metrics = toy_run.step(state, batch, key)
        return state._replace(batches_seen=state.batches_seen.astype(jnp.float32)), metrics

    with pytest.raises(ValueError, match=r"state\.batches_seen: init gives int32.*float32"):
        toy_run.fit(tmp_path, step=wider)

    def vector(state, batch, key):
        return state, {"loss": batch["image"].mean((1, 2, 3))}

    with pytest.raises(ValueError, match=r"metrics\['loss'\] has shape \(8,\)"):
        toy_run.fit(tmp_path, step=vector)


def test_text_in_a_batch_is_named(tmp_path):
    def with_names():
        while True:
            yield {"image": np.zeros((8, 8, 8, 1), np.float32), "case": np.array(["a"] * 8)}

    with pytest.raises(ValueError, match="'case'"):
        toy_run.fit(tmp_path, batches=with_names())


def test_fit_runs_outside_the_main_thread(tmp_path, reference):
    found = []
    thread = threading.Thread(target=lambda: found.append(toy_run.fit(tmp_path)))
    thread.start()
    thread.join()
    assert toy_run.fingerprint(found[0].state) == reference[0]


def test_grain_iterators_are_batches():
    assert isinstance(iter(toy_run.dataset()), Batches)
