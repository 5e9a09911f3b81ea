"""Profiles: a real trace of a known function, plain words for known names, the command."""

import jax
import jax.numpy as jnp
import pytest

from medjax import cli, operations, profiling
from medjax.operations import Instruction, layer, plain_words
from medjax.profiling import INPUT, WHOLE, Span, covered, summary


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Two steps of a function that is a large matrix product and little else."""

    def heavy(x, y):
        with jax.named_scope("Dense_0"):
            z = x @ y
        return jnp.sin(z[:8, :8]).sum()

    folder = tmp_path_factory.mktemp("trace")
    x = jnp.ones((700, 700))
    compiled = jax.jit(heavy).lower(x, x).compile()
    jax.block_until_ready(compiled(x, x))
    with jax.profiler.trace(str(folder)), jax.profiler.TraceAnnotation(WHOLE):
        for _ in range(2):
            jax.block_until_ready(compiled(x, x))
    return folder, operations.read(compiled.as_text())


def test_the_matrix_product_comes_first(traced) -> None:
    folder, names = traced
    spans, marks = profiling.spans_of(profiling.newest_trace(folder), names.module)
    found = summary(spans, marks, names, 2, 1, 1.0)
    first = found.rows[0]
    assert (first.what, first.where, first.calls) == ("matrix product", "Dense_0", 1)
    assert first.share > 0.5
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert 0 <= found.input <= found.idle < 1


@pytest.mark.parametrize(
    ("expected", "instruction"),
    [
        ("convolution", Instruction("convolution", "jvp(UNet)/Conv_0", "b01f_01io->b01f")),
        ("weight gradient", Instruction("convolution", "", "f01b_i01o->01bf")),
        ("input gradient", Instruction("convolution", "transpose(jvp(N))/C", "b01f_01oi->b01f")),
        ("convolution", Instruction("custom-call", "jvp(N)/Conv_0", target="medjax_convolution")),
        ("weight gradient", Instruction("dot", "transpose(jvp(N))/Conv_0/weight_gradient/dot")),
        ("input gradient", Instruction("fusion", "transpose(jvp(N))/Conv_0/input_gradient/mul")),
        ("transposed convolution", Instruction("convolution", "jvp(N)/Up_0/input_gradient/conv")),
        ("copy", Instruction("copy", "transpose(jvp(N))/Conv_0/weight_gradient/transpose")),
        ("matrix product", Instruction("dot", "jit(f)/dot_general")),
        ("matrix product", Instruction("custom-call", target="__cublas$gemm")),
        ("convolution", Instruction("custom-call", target="__cudnn$convForward")),
        ("input gradient", Instruction("custom-call", target="__cudnn$convBackwardInput")),
        ("weight gradient", Instruction("custom-call", target="__cudnn$convBackwardFilter")),
        ("copy", Instruction("copy")),
        ("exchange between devices", Instruction("all-reduce-start")),
        ("random numbers", Instruction("fusion", "jit(train_step)/jit(_uniform)/while/body/add")),
        ("normalisation", Instruction("fusion", sources=("medjax/nn/norm.py:3",))),
        ("FBP", Instruction("fusion", sources=("medjax/physics/ct_fbp.py:3",))),
        ("optimiser", Instruction("fusion", sources=("a.py:1", "optax/_src/transform.py:3"))),
        ("element by element, gradient", Instruction("fusion", "transpose(jvp(N))/mul")),
    ],
)
def test_operations_in_plain_words(expected, instruction) -> None:
    assert plain_words(instruction) == expected


def test_layers_are_those_of_flax() -> None:
    path = "jit(train_step)/transpose(jvp(UNet))/ConvUnit_3/Conv_0/cond/branch_0_fun/conv"
    assert layer(path) == "UNet/ConvUnit_3/Conv_0"
    assert layer("jit(train_step)/jit(_uniform)/while/body/add") == ""


HLO = """HloModule jit_train_step, is_scheduled=true

FileNames
1 "/home/a/medjax/nn/norm.py"
2 "/home/a/lib/site-packages/optax/_src/x.py"

FunctionNames
1 "f"

FileLocations
1 {file_name_id=1 function_name_id=1 line=60 end_line=60 column=4 end_column=7}
2 {file_name_id=2 function_name_id=1 line=9 end_line=9 column=4 end_column=7}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=1}

%fused (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %d = f32[2]{0} dot(%p, %p), metadata={op_name="jit(train_step)/jvp(Net)/Dense_0/dot_general"}
}

ENTRY %main (a: f32[2]) -> (f32[2], f32[2]) {
  %a = f32[2]{0} parameter(0)
  %fusion.1 = f32[2]{0} fusion(%a), kind=kOutput, calls=%fused
  %loop = (s32[], f32[2]{0:T(8)}) while(%a), condition=%c, body=%b
  ROOT %add.2 = f32[2]{0} add(%a, %a), metadata={op_name="jit(train_step)/add" stack_frame_id=2}
}
"""


def test_a_program_is_read() -> None:
    names = operations.read(HLO)
    assert names.module == "jit_train_step"
    assert names.what("fusion.1") == "matrix product"
    assert names.where("fusion.1") == "Net/Dense_0"
    assert names.instructions["add.2"].sources == ("medjax/nn/norm.py:60", "optax/_src/x.py:9")
    assert (names.what("add.2"), names.where("add.2")) == ("normalisation", "medjax/nn/norm.py:60")
    assert names.holds_others("loop") and not names.holds_others("add.2")
    assert (names.what("unknown"), names.where("unknown")) == ("other", "unknown")


def test_shares_idle_time_and_waiting_for_input() -> None:
    names = operations.read(HLO)
    spans = [Span("loop", 0, 100), Span("fusion.1", 10, 40), Span("add.2", 30, 50)]
    # Of 70 idle nanoseconds the loop was getting a batch in 5 (5 to 10) and 15 (60 to 75).
    marks = [Span(INPUT, 5, 20), Span(INPUT, 60, 75), Span(WHOLE, 0, 110)]
    found = summary(spans, marks, names, 2, 1, 4e-3)
    assert [(row.what, row.share) for row in found.rows] == [
        ("matrix product", 0.6),
        ("normalisation", 0.4),
    ]
    assert found.rows[0].milliseconds == pytest.approx(30e-6 / 2)
    assert found.rows[0].calls == 0.5
    assert found.idle == pytest.approx(70 / 110)
    assert found.input == pytest.approx(20 / 110)
    assert (found.step_milliseconds, found.work) == pytest.approx((2.0, 25e-6))


def test_operations_before_the_steps_that_count_are_left_out() -> None:
    names = operations.read(HLO)
    spans = [Span("add.2", 0, 90), Span("fusion.1", 100, 130), Span("add.2", 130, 140)]
    found = summary(spans, [Span(WHOLE, 100, 140)], names, 1, 1, 1.0)
    assert [row.share for row in found.rows] == [0.75, 0.25]
    assert (found.idle, found.work) == pytest.approx((0, 40e-6))


def test_time_is_covered_once() -> None:
    spans = [Span("", 5, 9), Span("", 0, 6), Span("", 20, 40)]
    assert covered(spans, Span("", 2, 30)) == 7 + 10


def test_the_command(tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TINY)
    assert cli.run(["profile", "tiny.py", "--steps", "2", "--data.threads", "1"]) == 0
    said = capsys.readouterr().out
    assert "convolution" in said and "weight gradient" in said and "PlainCNN" in said
    assert "ms (2 traced" in said
    assert "waited for input" in said.replace("\n", " ")
    assert list((tmp_path / "profiles" / "tiny").rglob("*.trace.json.gz"))
    assert not (tmp_path / "runs").exists()


TINY = """
import dataclasses
from medjax.experiment import Data, find, load
from medjax.models.plain_cnn import PlainCNNConfig

cpu = dataclasses.replace(
    load(find("ldct_redcnn"), "cpu"),
    name="tiny",
    network=PlainCNNConfig(width=16, layers=3),
    data=Data(patch=32, batch=4),
)
"""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["quickstart", "--steps", "0"], "--steps 0: must be at least 1"),
        (["quikstart"], "did you mean quickstart?"),
        (["quickstart", "--setting", "huge"], "--setting huge"),
        (["quickstart", "--out", "file"], "file: is a file"),
        (["quickstart", "--schedule.stepz", "1"], "did you mean --schedule.steps"),
    ],
)
def test_bad_arguments_end_in_one_line(args, said, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert cli.run(["profile", *args]) == 2
    told = capsys.readouterr().err
    assert told.startswith("medjax: ") and told.count("\n") == 1 and said in told
