"""16-bit codes: what the browser decodes is what was measured, and draws as Python does."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medjax.report import pack, picture
from medjax.report.picture import Window

STATIC = Path(pack.__file__).parent / "static"
CT = Window(-160, 240, "HU")


def hu(shape=(3, 40, 50)) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 600, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 40, 50), (2, 6, 4, 3), (1, 1, 1)])
def test_packing_loses_nothing(shape):
    codes = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    np.testing.assert_array_equal(pack.unpack(pack.pack(codes), shape), codes)


def test_hounsfield_units_are_kept_to_half_a_unit():
    values = hu()
    coding = pack.codes_for([values, values + 10], CT)
    assert coding.step <= 1.0
    assert np.abs(coding.decode(coding.encode(values)) - values).max() <= coding.step / 2 + 1e-4


@pytest.mark.parametrize(
    "shown", [Window(0, 1), Window(0, 255), Window(-1e-3, 2e-3), Window(-1500, 1500, "HU")]
)
def test_codes_are_finer_than_greys_whatever_the_unit(shown):
    values = np.linspace(shown.low, shown.high, 1000).reshape(1, 20, 50)
    coding = pack.codes_for([values], shown)
    assert coding.step <= shown.width / 255
    error = np.abs(coding.decode(coding.encode(values)) - values).max()
    assert error <= coding.step / 2 * (1 + 1e-9)


def test_outliers_cannot_use_up_the_codes():
    values = np.array([[[0.0, 100.0, 1e12, -1e12]]])
    coding = pack.codes_for([values], CT)
    assert coding.count <= 65536 and coding.step <= 1
    decoded = coding.decode(coding.encode(values))
    np.testing.assert_allclose(decoded[0, 0, :2], [0, 100], atol=coding.step / 2)
    assert decoded[0, 0, 2] > CT.high and decoded[0, 0, 3] < CT.low


def test_what_is_not_finite_has_its_own_code():
    values = np.array([[[np.nan, np.inf, -np.inf, 5.0]]])
    coding = pack.codes_for([values], CT)
    assert coding.encode(values).tolist()[0][0][:3] == [0, 0, 0]
    assert np.isnan(coding.decode(coding.encode(values))[0, 0, :3]).all()
    assert pack.codes_for([np.full((1, 2, 2), np.nan)], CT).count > 2


def run_node(script: str, data: dict) -> Any:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    head = f"const pixels = require({json.dumps(str(STATIC / 'pixels.js'))});"
    head += f"const view = require({json.dumps(str(STATIC / 'view.js'))}).view;"
    head += f"const data = {json.dumps(data)};"
    command = [node, "-e", f"{head}(async () => {{ {script} }})()"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def test_the_browsers_decoder_draws_what_python_draws():
    values, clean = hu(), hu()[::-1]
    values[1, 2, 3] = np.nan
    coding = pack.codes_for([values, clean], CT)
    a, b = coding.encode(values), coding.encode(clean)
    data = {
        "a": pack.pack(a),
        "b": pack.pack(b),
        "coding": {"low": coding.low, "step": coding.step, "count": coding.count},
    }
    out = run_node(
        """
        const { coding } = data, n = 2000, rgba = () => new Uint8ClampedArray(4 * n);
        const a = await pixels.decode(data.a, 40, 50), b = await pixels.decode(data.b, 40, 50);
        const image = rgba(), difference = rgba(), sigma = rgba();
        pixels.drawImage(image, a, n, n, 1, pixels.greys(coding, -160, 240));
        pixels.drawDifference(difference, a, b, n, n, 1, coding.step, 100);
        pixels.drawUncertainty(sigma, a, n, n, coding, 900);
        console.log(JSON.stringify({ codes: [...a], image: [...image],
          difference: [...difference], sigma: [...sigma] }));
        """,
        data,
    )
    np.testing.assert_array_equal(np.reshape(out["codes"], a.shape), a)
    image = np.reshape(out["image"], (40, 50, 4))
    stored = coding.decode(a)[1]
    grey = np.repeat(picture.window(stored, -160, 240)[..., None], 3, axis=-1)
    grey[2, 3] = picture.NOT_FINITE
    np.testing.assert_array_equal(image[..., :3], grey)
    assert (image[..., 3] == 255).all()
    # Floating-point ties may fall to the next of the 255 colours.
    expected = picture.difference(stored, coding.decode(b)[1], 100).astype(int)
    shown = np.reshape(out["difference"], (40, 50, 4))[..., :3]
    assert np.abs(shown - expected).max() <= 4
    assert (shown != expected).any(axis=-1).mean() < 0.01
    sigma = np.reshape(out["sigma"], (40, 50, 4))[..., :3]
    assert np.abs(sigma - picture.uncertainty(stored, 900).astype(int)).max() <= 4


def test_the_browsers_decoder_draws_colours():
    values = np.random.default_rng(2).uniform(0, 1, (2, 6, 4, 3))
    coding = pack.codes_for([values], Window(0, 1))
    codes = coding.encode(values)
    fields = {"low": coding.low, "step": coding.step, "count": coding.count}
    out = run_node(
        """
        const a = await pixels.decode(data.a, 6, 4), rgba = new Uint8ClampedArray(96);
        pixels.drawImage(rgba, a, 72, 24, 3, pixels.greys(data.coding, 0, 1));
        console.log(JSON.stringify([...rgba]));
        """,
        {"a": pack.pack(codes), "coding": fields},
    )
    shown = np.reshape(out, (6, 4, 4))[..., :3]
    np.testing.assert_array_equal(shown, picture.window(coding.decode(codes)[1], 0, 1))


def test_zoom_keeps_the_pixel_under_the_cursor_and_never_shows_outside():
    out = run_node(
        """
        let v = view.whole(), worst = 0;
        const random = (s => () => (s = s * 16807 % 2147483647) / 2147483647)(7);
        for (let i = 0; i < 500; i++) {
          const [px, py] = [random(), random()], before = view.at(v, px, py);
          const next = view.zoomAt(v, 0.5 + random() * 1.4, px, py);
          const [x, y, w, h] = view.part(next);
          worst = Math.max(worst, -x, -y, x + w - 1, y + h - 1);
          if (next.zoom > v.zoom) {
            const after = view.at(next, px, py);
            worst = Math.max(worst, Math.abs(after[0] - before[0]), Math.abs(after[1] - before[1]));
          }
          v = view.pan(next, random() - 0.5, random() - 0.5);
        }
        const lengths = [0.3, 1, 4.9, 5, 73, 1000].map(view.roundLength);
        console.log(JSON.stringify({ worst, lengths, most: view.zoomAt(v, 1e9, 0, 0).zoom }));
        """,
        {},
    )
    assert out["worst"] < 1e-9
    assert out["lengths"] == pytest.approx([0.2, 1, 2, 5, 50, 1000])
    assert out["most"] == 64
