"""report.html, read back: pictures, words, and nothing from outside the file."""

import base64
import datetime
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medjax.report import picture
from medjax.report.cases import CasePictures
from medjax.report.html import WARNING, write_report
from medjax.report.pack import Codes, unpack
from medjax.report.table import Column, Results, Row
from medjax.train import writers

CT = picture.Window(-160, 240, "HU")
VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """Elements with their attributes, text by element, and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]

    def text(self, tag: str) -> str:
        return "".join(self.texts.get(tag, []))


def slices(seed: int = 0, shape: tuple[int, ...] = (24, 32)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    clean = rng.normal(40, 80, shape).astype(np.float32)
    noisy = clean + rng.normal(0, 30, shape).astype(np.float32)
    return {"low dose": noisy, "net": (clean + noisy) / 2, "full dose": clean}


def table(case_ids=("a", "b")) -> Results:
    columns = (Column("psnr", "PSNR", "dB", "high", 1), Column("ssim", "SSIM", "", "high", 3))
    cases = ({"psnr": 21.5, "ssim": 0.71}, {"psnr": 22.5, "ssim": 0.72})
    rows = (
        Row("low dose", {"psnr": 22.0, "ssim": 0.715}, "degraded", cases),
        Row("net", {"psnr": 30.0, "ssim": 0.9}, "network"),
    )
    return Results("CT", "data range 400 HU", columns, rows, case_ids)


def write(tmp_path, **fields) -> tuple[str, Page]:
    path = write_report(tmp_path / "run" / "report.html", **fields)
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    return text, Page(text)


def pixels(attributes: dict[str, str]) -> np.ndarray:
    head, _, data = attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def test_pictures_are_windowed_and_differences_scaled(tmp_path):
    images = slices()
    case = CasePictures("a", images, "full dose", CT, difference_scale=60)
    _, page = write(tmp_path, cases=[case], results=table())
    shown = {a["alt"].split(":")[0]: pixels(a) for a in page.all("img")}
    assert set(shown) == {*images, "low dose less full dose", "net less full dose"}
    for name, image in images.items():
        expected = np.rint(255 * np.clip((image.astype(np.float64) + 160) / 400, 0, 1))
        np.testing.assert_array_equal(shown[name], expected)
    for name in ("low dose", "net"):
        away = images[name].astype(np.float64) - images["full dose"]
        coloured = shown[f"{name} less full dose"].astype(int)
        np.testing.assert_array_equal(
            coloured, picture.difference(images[name], images["full dose"], 60)
        )
        # Independent of the colour map: orange where too high, blue where too low.
        assert (coloured[away > 5][:, 0] > coloured[away > 5][:, 2]).all()
        assert (coloured[away < -5][:, 2] > coloured[away < -5][:, 0]).all()
    assert "window −160 to 240 HU (level 40, width 400)" in page.text("p")
    assert "scale −60 to +60 HU" in page.text("p")


def block(text: str, identifier: str) -> str:
    found = re.search(f'<script type="[^"]*" id="{identifier}">([^<]*)</script>', text)
    assert found is not None
    return found.group(1)


def test_the_browser_gets_the_values_of_every_slice_and_plane(tmp_path):
    images = slices(shape=(6, 20, 30))
    sigma = {"net": np.abs(images["low dose"])}
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    case = CasePictures(
        "v", images, "full dose", CT, spacing=(3.0, 1.0, 1.0), affine=affine, uncertainty=sigma
    )
    text, _ = write(tmp_path, cases=[case])
    about = json.loads(block(text, "case-0-about"))
    assert [p["name"] for p in about["planes"]] == ["axial", "coronal", "sagittal"]
    assert about["planes"][1]["pixel"] == [3.0, 1.0]
    assert about["uncertain"] == [False, True, False]
    coding, sigma_coding = Codes(**about["codes"]), Codes(**about["sigma"])
    for i, image in enumerate(images.values()):
        # Stored feet first: axial slices as they are, the others with the head up.
        for v, stack in enumerate((image, image[::-1, 10][None], image[::-1, :, 15][None])):
            codes = unpack(block(text, f"d-0-{v}-{i}"), stack.shape)
            np.testing.assert_allclose(coding.decode(codes), stack, atol=coding.step / 2 + 1e-4)
    codes = unpack(block(text, "u-0-0-1"), (6, 20, 30))
    np.testing.assert_allclose(sigma_coding.decode(codes), sigma["net"], atol=0.5)


def test_pictures_have_the_shape_of_the_body_not_of_the_array(tmp_path):
    case = CasePictures("a", slices(), "full dose", CT, spacing=(2.0, 0.5))
    _, page = write(tmp_path, cases=[case])
    panes = [a for a in page.all("div") if a.get("class") == "pane"]
    assert {a["style"] for a in panes} == {f"--ratio:{32 * 0.5 / (24 * 2.0):.5g}"}


def test_nothing_is_loaded_from_outside(tmp_path):
    case = CasePictures("a", slices(), "full dose", CT)
    text, page = write(tmp_path, cases=[case], results=table(), judged="net")
    assert not re.search(r"https?://", text)
    for tag, attributes in page.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page.text("style") and "@import" not in page.text("style")


def test_the_policy_allows_this_script_alone(tmp_path):
    text, page = write(tmp_path, cases=[CasePictures("a", slices(), "full dose", CT)])
    (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_names_cannot_become_markup(tmp_path):
    evil = '</script><img src=x onerror="alert(1)">&'
    images = {f"net {evil}": slices()["net"], "ref": slices()["full dose"]}
    results = Results(
        f"title {evil}",
        f"note {evil}",
        (Column("psnr", f"P {evil}", "dB", "high"),),
        (Row(f"net {evil}", {"psnr": 1.0}, "network"), Row("TV", {"psnr": 2.0})),
    )
    _, page = write(
        tmp_path,
        title=f"run {evil}",
        results=results,
        judged=f"net {evil}",
        cases=[CasePictures(f"case {evil}", images, "ref", CT, note=f"said {evil}")],
        history=[writers.Row(s, {f"loss {evil}": 1.0 / s}, 0.0) for s in (1, 2)],
        experiment={f"key {evil}": f"value {evil}", "list": [evil], "in": {evil: {evil: evil}}},
        next_steps=[f"medjax {evil}"],
    )
    assert all(a["src"].startswith("data:") and "onerror" not in a for a in page.all("img"))
    assert len(page.all("script")) == 4
    for start, tag in (
        ("title", "p"), ("run", "h1"), ("run", "title"), ("case", "h3"), ("said", "p"),
        ("net", "strong"), ("note", "p"), ("P", "th"), ("value", "dd"), ("medjax", "code"),
        ("loss", "svg"),
    ):  # fmt: skip
        assert f"{start} {evil}" in page.text(tag)
    assert any(a.get("data-name") == f"net {evil}" for a in page.all("figure"))


def test_a_name_that_says_what_it_is_gets_no_tag(tmp_path):
    columns = (Column("psnr", "PSNR", "dB", "high", 1),)
    rows = (
        Row("scan (reference)", {"psnr": None}, "reference"),
        Row("clean", {"psnr": None}, "reference"),
        Row("U-Net", {"psnr": 1.0}, "network"),
        Row("median 3", {"psnr": 1.0}),
    )
    _, page = write(tmp_path, results=Results("t", "", columns, rows))
    # The tags are what stands in <em>.
    assert page.texts["em"] == ["reference", "network"]


def test_it_says_what_it_is_not_for(tmp_path):
    _, page = write(tmp_path)
    assert "not for diagnosis" in WARNING
    assert WARNING in page.text("aside") and WARNING in page.text("footer")


def test_table_verdict_and_figures_of_the_case(tmp_path):
    case = CasePictures("b", slices(), "full dose", CT)
    text, page = write(tmp_path, cases=[case], results=table(), judged="net")
    assert "net is ahead of every other method in PSNR and SSIM." in page.text("p")
    assert "data range 400 HU" in page.text("p")
    assert '<td class="best">30.0<b> ★</b></td>' in text
    assert "PSNR 22.5 dB · SSIM 0.720" in page.text("span")
    assert [a["class"] for a in page.all("tr") if "class" in a] == ["degraded", "network judged"]
    with pytest.raises(KeyError):
        write(tmp_path, results=table(), judged="nobody")


def test_unsure_and_broken_pixels_are_flagged(tmp_path):
    images = slices()
    images["net"][:2, :4] = np.nan
    sigma = np.zeros((24, 32), np.float32)
    sigma[:6] = 50.0
    case = CasePictures("a", images, "full dose", CT, uncertainty={"net": sigma}, unsure_above=40)
    _, page = write(tmp_path, cases=[case])
    assert "8 values are not finite" in page.text("span")
    assert "unsure (σ above 40 HU) in 25.0 % of pixels" in page.text("span")
    shown = {a["alt"].split(":")[0]: pixels(a) for a in page.all("img")}
    assert shown["net"][0, 0].tolist() == list(picture.NOT_FINITE)
    assert shown["net less full dose"][0, 0].tolist() == list(picture.NOT_FINITE)
    dark, bright = shown["net, standard deviation"][[20, 0], 0].astype(int).sum(axis=-1)
    assert bright > dark + 100


def test_curves_experiment_and_paths(tmp_path):
    experiment = {
        "seed": 3,
        "data": "/clinic/DOE_JANE/ct",
        "other": ["C:\\scans\\DOE_JANE", "~/DOE_JANE", "gs://bucket/DOE_JANE"],
        "method": {"name": "cgan", "betas": (0.5, 0.999), "scan": tmp_path / "DOE_JANE"},
        "versions": {"jax": "0.10.1"},
        "device": {"kind": "cpu"},
    }
    history = [writers.Row(s + 1, {"train/l1": 1.0 / (s + 1)}, 0.0) for s in range(10)]
    text, page = write(tmp_path, experiment=experiment, history=history)
    assert "DOE_JANE" not in text
    for word in ("0.5, 0.999", "0.10.1", "cpu", "cgan", "a path, see experiment.json"):
        assert word in page.text("dd")
    assert "l1 over training steps: train/l1 from 1 to 0.1" in page.text("svg")


def test_series_and_colour_pictures(tmp_path):
    rng = np.random.default_rng(0)
    photo = {"dark": rng.uniform(0, 0.5, (8, 9, 3)), "good": rng.uniform(0, 1, (8, 9, 3))}
    series = {"moved": rng.normal(size=(5, 8, 9)), "still": rng.normal(size=(5, 8, 9))}
    cases = [
        CasePictures("p", photo, "good", picture.Window(0, 1), axes="yxc"),
        CasePictures("s", series, "still", picture.Window(-2, 2), axes="tyx"),
    ]
    text, page = write(tmp_path, cases=cases)
    shown = [pixels(a) for a in page.all("img")]
    np.testing.assert_array_equal(shown[0], np.rint(255 * photo["dark"]))
    np.testing.assert_array_equal(
        shown[3], np.rint(255 * np.clip((series["moved"][2] + 2) / 4, 0, 1))
    )
    assert "Frame 3 of 5." in page.text("p")
    assert json.loads(block(text, "case-0-about"))["channels"] == 3
    assert len(json.loads(block(text, "case-1-about"))["planes"][0]["slices"]) == 5


def test_the_same_report_is_written_twice(tmp_path):
    fields = {"created": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)}
    case = CasePictures("a", slices(), "full dose", CT)
    first, _ = write(tmp_path, cases=[case], **fields)
    second, _ = write(tmp_path, cases=[case], **fields)
    assert first == second and "2026-01-02 03:04 UTC" in first


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": "nobody"},
        {"images": {"full dose": np.zeros((4, 4)), "net": np.zeros((4, 5))}},
        {"images": {"full dose": np.zeros((2, 2, 2, 2))}},
        {"uncertainty": {"nobody": np.zeros((24, 32))}},
        {"uncertainty": {"net": np.zeros((24, 31))}},
        {"difference_scale": -1.0},
    ],
)
def test_cases_that_do_not_fit_are_refused(changes):
    fields = {"case_id": "a", "images": slices(), "reference": "full dose", "window": CT}
    with pytest.raises(ValueError, match=r"reference|shape|uncertainty|scale"):
        CasePictures(**{**fields, **changes})


def test_a_real_slice(tmp_path):
    """A public CT slice: all its identifying words stay out, its pixels get in."""
    data = pytest.importorskip("pydicom.data")
    path = data.get_testdata_file("693_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    import pydicom

    header = pydicom.dcmread(path)
    hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
    hu = hu.astype(np.float32)
    spacing = tuple(float(s) for s in header.PixelSpacing)
    case = CasePictures("slice 1", {"full": hu, "half": hu / 2}, "full", CT, spacing=spacing)
    text, page = write(tmp_path, cases=[case])
    shown = pixels(page.all("img")[0])
    assert shown.shape == (512, 512)
    np.testing.assert_array_equal(
        shown, np.rint(255 * np.clip((hu.astype(np.float64) + 160) / 400, 0, 1))
    )
    # One slice and two methods: an e-mail can carry it.
    assert len(text) < 2e6
