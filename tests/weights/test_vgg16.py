"""The weights that come along, and both published layouts turned into them."""

import functools
import hashlib
import http.server
import importlib.util
import threading

import numpy as np
import pytest

from medjax import cli
from medjax.errors import UserError
from medjax.models.vgg import CONVOLUTIONS, LAYERS, ConvWeights
from medjax.weights import vgg16
from medjax.weights.download import Remote


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def network():
    """A VGG16 in RGB, [y, x, in, out]: the true layers as far as they come along, then zeros."""
    weights, channels = dict(vgg16.load("bundled").convolutions), 3
    for name, width in CONVOLUTIONS.items():
        if name not in weights:
            kernel = np.zeros((3, 3, channels, width), np.float32)
            weights[name] = ConvWeights(kernel, np.full(width, 0.5, np.float32))
        channels = width
    return weights


def write_keras(path, network):
    """As Keras wrote the published file: blue, green, red; one group a layer, names of Keras 1."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in network.items():
            block = f"block{name[4]}_conv{name[6]}"
            kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel
            options = {"compression": "gzip", "compression_opts": 1}
            file.create_dataset(f"{block}/{block}_W_1:0", data=kernel, **options)
            file.create_dataset(f"{block}/{block}_b_1:0", data=bias)
        file.create_group("block1_pool")


def write_torchvision(path, network):
    torch = pytest.importorskip("torch")
    places = [i for i, c in enumerate("CRCRMCRCRMCRCRCRMCRCRCRMCRCRCR") if c == "C"]
    state = {"classifier.6.bias": torch.zeros(10)}
    for place, (kernel, bias) in zip(places, network.values(), strict=True):
        state[f"features.{place}.weight"] = torch.tensor(kernel.transpose(3, 2, 0, 1))
        state[f"features.{place}.bias"] = torch.tensor(bias)
    torch.save(state, path, _use_new_zipfile_serialization=False)


def published(path, monkeypatch, layout):
    """Makes a local file the published one."""
    content = path.read_bytes()
    remote = Remote(f"http://127.0.0.1:9/{path.name}", len(content), "md5", "")
    digest = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(vgg16.REMOTES, layout, remote._replace(digest=digest))


def assert_same(weights, network):
    assert list(weights.convolutions) == list(CONVOLUTIONS)
    for name, (kernel, bias) in network.items():
        np.testing.assert_array_equal(weights.convolutions[name].kernel, kernel)
        np.testing.assert_array_equal(weights.convolutions[name].bias, bias)


def test_bundled_weights_are_oxfords():
    weights = vgg16.load("bundled")
    assert [n.replace("conv", "relu") for n in weights.convolutions] == list(LAYERS[:7])
    first = weights.convolutions["conv1_1"]
    # The first numbers of Keras's published kernel, which is blue, green, red.
    np.testing.assert_allclose(
        first.kernel[0, 0, ::-1, 0], [0.42947057, 0.55037946, 0.4800154], atol=3e-4
    )
    np.testing.assert_allclose(np.array(weights.mean) * 255, [123.68, 116.779, 103.939])
    assert all(w.kernel.dtype == np.float32 for w in weights.convolutions.values())
    licence = vgg16.BUNDLED.with_name("VGG16_ATTRIBUTION.txt").read_text()
    assert "CC BY 4.0" in licence and "Simonyan" in licence


@pytest.mark.parametrize(
    ("layout", "write"), [("keras", write_keras), ("torchvision", write_torchvision)]
)
def test_a_file_one_has_is_checked_converted_and_kept(
    layout, write, network, tmp_path, monkeypatch
):
    path = tmp_path / "mine"
    write(path, network)
    published(path, monkeypatch, layout)
    kept = vgg16.fetch(layout, path)
    assert kept == tmp_path / "home" / "weights" / f"vgg16_{layout}.npz"
    assert path.exists() and [p.name for p in kept.parent.iterdir()] == [kept.name]
    weights = vgg16.load(layout)
    assert_same(weights, network)
    expected = (0.485, 0.456, 0.406) if layout == "torchvision" else vgg16.load("bundled").mean
    assert weights.mean == expected
    # There already: the (wrong) file is not even looked at.
    assert vgg16.fetch(layout, tmp_path / "none") == kept


def test_a_downloaded_file_is_removed_when_it_is_converted(network, tmp_path, monkeypatch):
    (tmp_path / "web").mkdir()
    path = tmp_path / "web" / "vgg16.pth"
    write_torchvision(path, network)
    published(path, monkeypatch, "torchvision")
    handler = functools.partial(Quiet, directory=str(path.parent))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/vgg16.pth"
        remote = vgg16.REMOTES["torchvision"]._replace(url=url)
        monkeypatch.setitem(vgg16.REMOTES, "torchvision", remote)
        try:
            assert cli.run(["weights", "fetch", "vgg16", "--layout", "torchvision"]) == 0
        finally:
            server.shutdown()
    assert_same(vgg16.load("torchvision"), network)
    kept = vgg16.cached("torchvision")
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_kernels_the_wrong_way_round_are_noticed(network, tmp_path):
    path = tmp_path / "turned.h5"
    kernel, bias = network["conv1_1"]
    turned = kernel[:, :, ::-1]
    write_keras(path, {**network, "conv1_1": ConvWeights(turned, bias)})
    with pytest.raises(UserError, match=r"turned\.h5: conv1_1 differs"):
        vgg16.read_keras(path)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "vgg16-397923af.pth"
    path.write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="1000 bytes"):
        vgg16.fetch("torchvision", path)
    with pytest.raises(UserError, match="no such file"):
        vgg16.fetch("torchvision", tmp_path / "none")
    assert path.exists() and not vgg16.cached("torchvision").exists()


def test_a_network_of_other_shape_is_refused(monkeypatch, tmp_path):
    state = {}
    monkeypatch.setattr(vgg16, "read_state_dict", lambda path, prefix: state)
    path = tmp_path / "other.pth"
    with pytest.raises(UserError, match=r"other\.pth: has no features\.0\.weight"):
        vgg16.read_torchvision(path)
    for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):
        state |= {f"features.{place}.weight": np.zeros((8, 3, 3, 3)), f"features.{place}.bias": []}
    with pytest.raises(UserError, match=r"other\.pth: conv1_1 has not VGG16's shape"):
        vgg16.read_torchvision(path)


def test_without_h5py_it_says_what_to_install_before_anything_is_fetched(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        vgg16.importlib.util, "find_spec", lambda name: None if name == "h5py" else find(name)
    )
    with pytest.raises(UserError, match=r"medjax\[weights\].*torchvision"):
        vgg16.fetch("keras")


def test_missing_and_damaged_weights_say_what_to_do():
    with pytest.raises(UserError, match="medjax weights fetch vgg16 --layout keras"):
        vgg16.load("keras")
    path = vgg16.cached("keras")
    path.parent.mkdir(parents=True)
    path.write_bytes(vgg16.BUNDLED.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged"):
        vgg16.load("keras")
    with pytest.raises(ValueError, match="source"):
        vgg16.load("oxford")  # type: ignore[arg-type]


def test_the_command_line(capsys):
    assert cli.run(["weights", "list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "bundled" in shown and "CC BY 4.0" in shown and "torchvision" in shown
    assert cli.run(["weights", "fetch", "vgg19"]) == 2
    assert cli.run(["weights", "fetch", "vgg16", "--file", "/none", "--layout", "torchvision"]) == 2
    assert "/none: there is no such file" in capsys.readouterr().err
