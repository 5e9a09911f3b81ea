"""Convolutions by oneDNN against XLA's own; skipped where the library cannot run."""

import itertools
import logging
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.nn import onednn, onednn_library
from medjax.nn.convolve import conv
from medjax.nn.geometry import Geometry, explicit_padding
from medjax.nn.onednn import Problem


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, compiled into a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDJAX_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv(onednn_library.SWITCH, raising=False)
        onednn_library.library.cache_clear()
        found = onednn_library.library()
    if found is None:
        pytest.skip("no oneDNN here: not Linux with AVX-512, no `cpu` extra or no C++ compiler")
    return found


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def stock(x, kernel, geometry):
    space = "XYZ"[: x.ndim - 2]
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        precision="highest",
    )


def geometry_of(size, window, stride, padding, dilation=1):
    n = len(size)
    steps, rate = (stride,) * n, (dilation,) * n
    return Geometry(steps, explicit_padding(padding, size, window, steps, rate), rate)


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, atol=3e-5 * float(jnp.abs(expected).max()))


SHAPES = [
    # space, window, stride, padding, dilation, batch, channels, features
    *(
        ((13, 12, 9)[:n], (window,) * n, stride, padding, 1, 3, 5, 18)
        for n, window, stride, padding in itertools.product(
            (1, 2, 3), (1, 3, 4), (1, 2), ("SAME", "VALID")
        )
    ),
    ((17, 11), (3, 3), 1, "SAME", 2, 1, 16, 32),
    ((17, 11), (3, 3), 3, "SAME", 1, 9, 16, 1),
    ((16, 16), (5, 3), 1, "VALID", 1, 4, 8, 16),
]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_the_three_products_are_xlas(library, case):
    size, window, stride, padding, dilation, batch, channels, features = case
    geometry = geometry_of(size, window, stride, padding, dilation)
    x = normal(0, batch, *size, channels)
    kernel = normal(1, *window, channels, features)
    y, back = jax.vjp(lambda x, kernel: stock(x, kernel, geometry), x, kernel)
    dy = normal(2, *y.shape)
    dx, dkernel = back(dy)

    forward = Problem.forward(x, kernel, geometry)
    by_input = Problem.input_gradient(dy, kernel, geometry, size)
    by_kernel = Problem.weight_gradient(x, dy, geometry, window)
    assert all(problem.possible for problem in (forward, by_input, by_kernel))
    assert_same(jax.jit(forward.run)(x, kernel), y)
    assert_same(jax.jit(by_input.run)(dy, kernel), dx)
    assert_same(jax.jit(by_kernel.run)(x, dy), dkernel)


def test_same_bits_every_time(library):
    # Which thread takes which part of the batch changes from call to call, their sum must not.
    geometry = geometry_of((24, 24), (3, 3), 1, "SAME")
    x, dy = normal(0, 16, 24, 24, 8), normal(1, 16, 24, 24, 16)
    run = jax.jit(Problem.weight_gradient(x, dy, geometry, (3, 3)).run)
    first = run(x, dy)
    assert all((run(x, dy) == first).all() for _ in range(50))


def test_vmap_is_a_loop(library):
    geometry = geometry_of((9, 9), (3, 3), 1, "SAME")
    x, kernels = normal(0, 2, 9, 9, 4), normal(1, 5, 3, 3, 4, 6)
    run = Problem.forward(x, kernels[0], geometry).run
    found = jax.vmap(run, (None, 0))(x, kernels)
    assert_same(found, jnp.stack([stock(x, kernel, geometry) for kernel in kernels]))


def test_what_is_not_taken(library):
    geometry = geometry_of((8, 8), (3, 3), 1, "SAME")
    x, kernel, many = normal(0, 2, 8, 8, 4), normal(1, 3, 3, 4, 6), normal(2, 3, 3, 4, 1)
    cut = Geometry((1, 1), ((-1, 0), (0, 0)), (1, 1))
    assert Problem.forward(x, kernel, geometry).pays
    assert not Problem.forward(x, kernel, cut).possible
    grouped = Geometry((1, 1), geometry.pads, (1, 1), groups=2)
    assert not Problem.forward(x, kernel[..., :2, :], grouped).possible
    series, taps = normal(0, 2, 4, 4, 4, 4, 4), normal(1, 3, 3, 3, 3, 4, 6)
    assert not Problem.forward(series, taps, geometry_of((4,) * 4, (3,) * 4, 1, "SAME")).possible
    assert Problem.forward(x, many, geometry).pays
    wide = jax.ShapeDtypeStruct((2, 8, 8, 32), jnp.float32)
    to_one = jax.ShapeDtypeStruct((3, 3, 32, 1), jnp.float32)
    assert not Problem.forward(wide, to_one, geometry).pays
    # These tests' eight devices: XLA cannot split the library's work over them.
    assert jax.device_count() == 8
    assert not onednn.available(jnp.float32)
    assert "ffi_call" not in str(jax.make_jaxpr(lambda x: conv(x, kernel))(x))


def test_types(monkeypatch):
    monkeypatch.setattr(onednn, "used", lambda: True)
    assert all(onednn.available(t) for t in (jnp.float32, jnp.bfloat16, jnp.float16))
    assert not any(onednn.available(t) for t in (jnp.float64, jnp.complex64, jnp.int32))


PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import sys
import jax, jax.numpy as jnp, numpy as np
from medjax.nn.conv import Conv, ConvTranspose
from flax import linen as nn

class Net(nn.Module):
    n: int
    @nn.compact
    def __call__(self, x):
        x = nn.relu(Conv(8, (3,) * self.n)(x))
        if self.n < 4:
            x = nn.relu(Conv(16, (3,) * self.n, (2,) * self.n)(x))
            x = nn.relu(ConvTranspose(8, (4,) * self.n, (2,) * self.n)(x))
        return Conv(1, (1,) * self.n)(x)

kept = {}
for case in sys.argv[2:]:
    n, dtype = int(case[0]), case[1:]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *(6,) * n, 3)), dtype)
    net = Net(n)
    weights = jax.tree.map(lambda w: w.astype(dtype), jax.jit(net.init)(jax.random.key(0), x))
    loss = lambda weights: (net.apply(weights, x).astype(jnp.float32) ** 2).mean()
    step = jax.jit(jax.grad(loss))
    print("calls", n, dtype, step.lower(weights).as_text().count("@medjax_convolution"))
    for path, leaf in jax.tree_util.tree_leaves_with_path(step(weights)):
        kept[f"{n} {dtype} {jax.tree_util.keystr(path)}"] = np.asarray(leaf, np.float32)
    if n == 1:
        slope = lambda w: sum(jnp.sum(g ** 2) for g in jax.tree.leaves(jax.grad(loss)(w)))
        second = jax.grad(slope)
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(second)(weights)):
            kept[f"second {jax.tree_util.keystr(path)}"] = np.asarray(leaf)
np.savez(sys.argv[1], **kept)
"""


CASES = ("1float32", "2float32", "3float32", "4float32", "2bfloat16")


def run_alone(home, out, *cases, **env):
    """A program of one device in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", onednn_library.SWITCH)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), *cases],
        env={**clean, "MEDJAX_HOME": str(home), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = [int(line.split()[-1]) for line in done.stdout.splitlines() if line[:5] == "calls"]
    return np.load(out), calls, done.stderr


def test_networks_learn_the_same_with_and_without(library, tmp_path):
    ours, calls, _ = run_alone(tmp_path, tmp_path / "ours.npz", *CASES)
    xlas, none, _ = run_alone(tmp_path, tmp_path / "xlas.npz", *CASES, MEDJAX_ONEDNN="0")
    # Three products a layer but the first, which has no input gradient; of 4-D weight gradients.
    assert calls[:3] == [11, 11, 11] and calls[3] > 0 and calls[4] == 11
    assert none == [0] * 5
    for name, expected in xlas.items():
        scale = np.abs(expected).max()
        tolerance = 2e-2 if "bfloat16" in name else 1e-4
        np.testing.assert_allclose(ours[name], expected, atol=tolerance * scale, err_msg=name)


def test_without_a_compiler_xla_does_it(library, tmp_path):
    broken = tmp_path / "compiler"
    broken.write_text("#!/bin/sh\necho 'onednn.cc:1: error: nothing works' >&2\nexit 1\n")
    broken.chmod(0o755)
    new, out = tmp_path / "new", tmp_path / "out.npz"
    _, calls, said = run_alone(new, out, "2float32", CXX=str(broken))
    assert calls == [0]
    assert "convolutions by XLA: oneDNN could not be made ready: onednn.cc:1: error" in said
    assert not list(new.rglob("*.so"))


def test_without_the_extra_xla_does_it(monkeypatch, caplog):
    monkeypatch.setattr(onednn_library, "_DISTRIBUTION", "no-such-distribution")
    monkeypatch.setattr(onednn_library, "_suits", lambda: True)
    monkeypatch.delenv(onednn_library.SWITCH, raising=False)
    with caplog.at_level(logging.INFO, "medjax"):
        assert onednn_library.library.__wrapped__() is None
    assert "the cpu extra would bring oneDNN" in caplog.text
