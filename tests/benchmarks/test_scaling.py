"""benchmarks.scaling: bytes as the program says, the model as by hand, the command end to end."""

import json
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from benchmarks.scaling import __main__ as command
from benchmarks.scaling.collectives import Collective, collectives, total
from benchmarks.scaling.machines import (
    MACHINES,
    Cluster,
    Link,
    Torus,
    all_reduce,
    efficiency,
    sides,
)
from medjax.train import mesh as meshes

HLO = """
  %all-reduce.1 = f32[64]{0} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
  %t = (f32[8]{0}, bf16[3,2]{1,0}) all-reduce(%a, %b), replica_groups=[2,4]<=[8], to_apply=%add
  %g = (f32[2,5]{1,0}, f32[8,5]{1,0}) all-gather-start(%c), replica_groups=[1,4]<=[4]
  %h = f32[8,5]{1,0} all-gather-done(%g)
  %r = f32[4]{0} reduce-scatter(%d), replica_groups={{0,1}}, dimensions={0}, to_apply=%add
  ROOT %p = u8[7]{0} collective-permute(%e), source_target_pairs={{0,1},{1,0}}
  %q = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%f)
  %n = pred[] all-reduce(%z), replica_groups={}, to_apply=%or
  %alone = f32[64]{0} all-reduce(%x), replica_groups={{0},{1}}, to_apply=%add
  %fusion = f32[64]{0} fusion(%all-reduce.1), kind=kLoop, calls=%all-reduce
"""


def test_bytes_of_hand_written_lines():
    assert collectives(HLO, devices=8) == [
        Collective("all-reduce", 64 * 4, 4),
        Collective("all-reduce", 8 * 4 + 6 * 2, 4),
        Collective("all-gather", 40 * 4, 4),
        Collective("reduce-scatter", 2 * 4 * 4, 2),
        Collective("collective-permute", 7, 2),
        Collective("collective-permute", 6 * 4, 2),
        Collective("all-reduce", 1, 8),
    ]
    assert total(collectives(HLO, 8))["collective-permute"] == {
        "operations": 2,
        "bytes": 31,
        "sent": 31,
    }
    assert Collective("all-reduce", 256, 4).sent == 2 * 3 / 4 * 256
    assert Collective("all-gather", 160, 4).sent == 3 / 4 * 160


def test_bytes_of_a_compiled_sum():
    mesh = meshes.make(8)

    def add(x):
        return jax.lax.psum(x, "data")

    spread = jax.shard_map(add, mesh=mesh, in_specs=P("data"), out_specs=P())
    text = jax.jit(spread).lower(jnp.zeros((8, 300), jnp.float32)).compile().as_text()
    assert collectives(text, 8) == [Collective("all-reduce", 300 * 4, 8)]


def test_a_ring_by_hand():
    # 3 + 3 steps, each a quarter of 4 GB at 2 GB/s and 10 ms.
    assert all_reduce(4e9, 4, Link(2e9, 1e-2)) == pytest.approx(6 * (0.5 + 1e-2))
    assert all_reduce(4e9, 1, Link(2e9, 1e-2)) == 0


def test_nodes_by_hand():
    cluster = Cluster("", 2, Link(4e9, 1e-3), Link(1e9, 2e-3), tree=5e-3)
    # Inside: 2 steps of 2 GB at 4 GB/s; outside, on 2 GB: a ring of 2 x 3 steps of 0.5 GB.
    inside, ring = 2 * (0.5 + 1e-3), 6 * (0.5 + 2e-3)
    assert cluster.seconds(4e9, 8) == pytest.approx(inside + ring)
    assert cluster.seconds(4e9, 2) == pytest.approx(inside)
    # Of hardly any bytes over 1024 nodes: a tree of 2 x 10 levels, not 2 x 1023 steps of a ring.
    assert cluster.seconds(1.0, 2048) == pytest.approx(2 * 1e-3 + 20 * 5e-3, rel=1e-6)


def test_a_torus_by_hand():
    torus = Torus("", Link(1e9, 1e-3))
    # 4 x 2 x 2; a third, 4 GB, goes along the axis of 4, a quarter of it along one of 2, ...
    long = 6 * (1 / 2 + 1e-3)
    short = 2 * (0.5 / 2 + 1e-3) + 2 * (0.25 / 2 + 1e-3)
    assert torus.seconds(12e9, 16) == pytest.approx(long + short)
    assert [sides(chips) for chips in (8, 32, 4096)] == [(2, 2, 2), (4, 4, 2), (16, 16, 16)]
    with pytest.raises(ValueError, match="power of two"):
        sides(12)


def test_efficiency_lies_between_its_bounds():
    assert efficiency(3.0, 1.0) == (0.75, 1.0)
    assert efficiency(1.0, 4.0) == (0.2, 0.25)
    for row in command.modelled(1e8, 0.1):
        assert 0 < row["weak"][0] <= row["weak"][1] <= 1
    assert {row["machine"] for row in command.modelled(1e8, 0.1)} == {m.name for m in MACHINES}


def test_the_command(tmp_path, monkeypatch, capsys):
    out = tmp_path / "scaling.json"
    given = "--devices 2 --batch 1 --size 16 --width 16 --layers 3 --steps 1 --parameters 0"
    monkeypatch.setattr(sys, "argv", ["benchmarks.scaling", *given.split(), "--out", str(out)])
    command.main()
    result = json.loads(out.read_text())
    # Three 3x3 layers, 1 to 16 to 16 to 1 channels, with biases.
    size = 4 * (144 + 16 + 2304 + 16 + 144 + 1)
    assert result["model"]["gradient_bytes"] == size
    ways = {row["way"]: row for row in result["measured"] if row["scaling"] == "weak"}
    assert set(ways) == {
        "jit, batch split",
        "jit, batch and state split",
        "jit, image split",
        "pmap",
    }
    # The gradients, the loss, and nothing else.
    for way in ("jit, batch split", "pmap"):
        assert size <= ways[way]["collectives"]["all-reduce"]["bytes"] <= size + 8
    # The one large kernel is gathered where the step uses it.
    assert ways["jit, batch and state split"]["collectives"]["all-gather"]["bytes"] >= 4 * 2304
    # Halos are exchanged between neighbours.
    assert "collective-permute" in ways["jit, image split"]["collectives"]
    assert f"wrote {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    ["--devices 0", "--devices x", "--size 30 --devices 4", "--step-ms 0", "--out .", "--no-flag"],
)
def test_a_wrong_argument_is_one_line(capsys, wrong):
    assert command.main(wrong.split()) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and not said.out
