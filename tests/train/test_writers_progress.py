"""metrics.jsonl, TensorBoard events and what a person sees."""

import io
import json
import logging
import struct

import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from medjax.train.progress import Progress, Tick, describe
from medjax.train.writers import MetricWriter, read_metrics


def events(run):
    """Reads TensorBoard's files with nothing but the format: length, crc, bytes, crc."""
    found = []
    for path in sorted((run / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event()
            event.ParseFromString(content[at + 12 : at + 12 + length])
            found.append(event)
            at += 12 + length + 4
    return found


def test_rows_are_json_and_come_back(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.write(2, {"loss": 0.1, "psnr": 30.0}, 1.23456)
        writer.write(4, {"loss": float(np.float32(0.3))}, 2.0)
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "step": 2,
        "metrics": {"loss": 0.1, "psnr": 30.0},
        "seconds": 1.235,
    }
    assert np.float32(json.loads(second)["metrics"]["loss"]) == np.float32(0.3)
    assert [row.step for row in read_metrics(tmp_path)] == [2, 4]
    assert read_metrics(tmp_path / "absent") == []


def test_resuming_forgets_what_came_after(tmp_path):
    with MetricWriter(tmp_path) as writer:
        for step in (2, 4, 6, 8):
            writer.write(step, {"loss": step / 8}, step)
    with MetricWriter(tmp_path, 5) as writer:
        assert writer.seconds == 4
        writer.write(6, {"loss": 9.0}, 7)
    assert [(row.step, row.metrics["loss"]) for row in read_metrics(tmp_path)] == [
        (2, 0.25), (4, 0.5), (6, 9.0),
    ]  # fmt: skip
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [1, 6]


def test_a_torn_last_line_is_dropped_with_a_warning(tmp_path, caplog):
    with MetricWriter(tmp_path) as writer:
        writer.write(2, {"loss": 0.5}, 1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "met')
    with MetricWriter(tmp_path, 4) as writer:
        writer.write(6, {"loss": 0.25}, 2)
    assert "line 2" in caplog.text
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 6]


def test_scalars_are_on_disk_after_flush_and_pictures_too(tmp_path):
    writer = MetricWriter(tmp_path)
    writer.write(3, {"loss": 0.5}, 1)
    writer.image(3, "restored", np.full((4, 6, 1), 0.5, np.float32))
    writer.flush()
    values = [value for event in events(tmp_path) for value in event.summary.value]
    writer.close()
    assert [value.tag for value in values] == ["loss", "restored"]
    assert values[0].simple_value == 0.5
    assert (values[1].image.height, values[1].image.width) == (4, 6)


TICK = Tick(step=50, steps=100, metrics={"loss": 0.125}, step_seconds=0.08, images_per_second=100.0)


def test_a_line_says_pace_loss_and_what_is_left():
    assert describe(TICK) == "80 ms/step  100 images/s  loss 0.125  0:04 left"
    assert describe(Tick(1, 2, {"a": 1.0, "b": 2.0}, None, None), ("b",)) == "b 2"
    slow = Tick(step=0, steps=100, metrics={}, step_seconds=61.0, images_per_second=None)
    assert describe(slow).endswith("1:41:40 left")


def test_without_a_terminal_lines_are_logged_rarely(caplog):
    caplog.set_level(logging.INFO)
    with Progress(every=3600, console=Console(file=io.StringIO())) as progress:
        for step in range(1, 101):
            progress(Tick(step, 100, {"loss": 1.0}, 0.1, None))
    assert [record.getMessage().split("  ")[0] for record in caplog.records] == [
        "step 1/100",
        "step 100/100",
    ]


def test_on_a_terminal_there_is_a_bar(caplog):
    caplog.set_level(logging.INFO)
    screen = io.StringIO()
    with Progress(console=Console(file=screen, force_terminal=True, width=120)) as progress:
        progress(TICK)
    assert "50/100" in screen.getvalue()
    assert "80 ms/step" in screen.getvalue()
    assert not caplog.records


def test_seconds_left_needs_a_pace():
    assert Tick(1, 10, {}, None, None).seconds_left is None
    assert TICK.seconds_left == pytest.approx(4.0)
