"""PyTorch's side of a row: the same network and step in every way PyTorch runs it, proved equal.

Imported only where PyTorch is installed.
"""

import contextlib
import copy
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch import nn

from benchmarks.peers import torch_latent, torch_methods
from benchmarks.peers.torch_attention import AttentionNet
from benchmarks.peers.torch_judges import Critic, PatchGAN
from benchmarks.peers.torch_layers import NoPeerError
from benchmarks.peers.torch_ldct import REDCNN, cnn10
from benchmarks.peers.torch_methods import Learner, Metrics
from benchmarks.peers.torch_networks import RDAE, Autoencoder, PlainCNN, UNet
from benchmarks.peers.torch_weights import back, image, load
from benchmarks.throughput.ours import Ours
from benchmarks.throughput.suite import Work
from medjax.methods.config import CGAN, VAE, WGAN, Regression
from medjax.models.attention_net import AttentionNetConfig
from medjax.models.autoencoder import AutoencoderConfig
from medjax.models.cnn10 import CNN10Config
from medjax.models.cvae import CVAEConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.rdae import RDAEConfig
from medjax.models.redcnn import REDCNNConfig
from medjax.models.unet import UNetConfig
from medjax.models.vae import VAEConfig

VERSION = str(torch.__version__)
_PLAIN = {
    UNetConfig: UNet,
    RDAEConfig: RDAE,
    AutoencoderConfig: Autoencoder,
    PlainCNNConfig: PlainCNN,
    AttentionNetConfig: AttentionNet,
    CVAEConfig: torch_latent.CVAE,
}
_CNN10 = {"Conv_0": "net.0", "Conv_1": "net.2", "Conv_2": "net.4"}
_REDCNN = {f"Conv_{i}": f"net.down.{i}" for i in range(5)} | {
    f"ConvTranspose_{i}": f"net.up.{i}" for i in range(5)
}
_LAYOUTS = {
    "contiguous": lambda dims: torch.contiguous_format,
    "channels last": {2: torch.channels_last, 3: torch.channels_last_3d}.get,
}


class Variant(NamedTuple):
    """One way in which PyTorch runs a row."""

    name: str
    train: Callable[[int], float]
    """Seconds a training step, of so many."""
    restore: Callable[[int], float]
    difference: float
    """From ours, relative: the largest of the first step's metrics and the restored images."""


class Left(NamedTuple):
    """A way that did not come about, and why."""

    name: str
    reason: str


class _OnImage(nn.Module):
    """A network that sees the image alone, without the conditions after it."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x[:, :1])


def reason_against(work: Work) -> str | None:
    """Why a row has no peer, or None where it has one."""
    config, method = work.experiment.network, work.experiment.method
    if type(config) not in {*_PLAIN, VAEConfig, CNN10Config, REDCNNConfig}:
        return f"no {type(config).__name__.removesuffix('Config')} in PyTorch here"
    if type(method) not in (Regression, CGAN, WGAN, VAE):
        return f"no {method.label} in PyTorch here"
    return None


def variants(
    work: Work,
    ours: Ours,
    first: tuple[Mapping[str, float], np.ndarray],
    compiled: bool,
    until: float | None = None,
) -> Iterator[Variant | Left]:
    """Every way in which PyTorch runs the row, warm and compared with ours.

    Args:
      work: the row.
      ours: what starts from the same weights.
      first: what `ours.first()` gave.
      compiled: also through `torch.compile`.
      until: of the monotonic clock, when what is not warm is left out; None waits for all.
    """
    try:
        network(work, ours.variables)
    except NoPeerError as error:
        yield Left("PyTorch", str(error))
        return
    torch.backends.cudnn.benchmark = True
    # As XLA does by default.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    modes = [False, True] if compiled and shutil.which("g++") else [False]
    if compiled and len(modes) == 1:
        yield Left("torch.compile", "no C++ compiler (g++) for it")
    layouts = {name: found for name, of in _LAYOUTS.items() if (found := of(work.dims))}
    for compiling in modes:
        # On GPUs its compiler lays convolutions out as it likes, whatever it is given.
        chosen = list(layouts)[-1:] if compiling and torch.cuda.is_available() else list(layouts)
        for layout in chosen:
            name = f"{'compiled' if compiling else 'eager'}, {layout}"
            memory = layouts[layout]
            try:
                with _stopped(until):
                    found = _variant(name, _Peer(work, ours, memory, compiling), first)
                yield found
            except _OutOfTimeError:
                yield Left(name, "not compiled in time")
            except Exception as error:
                # Only compilers fail where the same eager step ran; any of theirs may.
                if not compiling:
                    raise
                line = next(iter(str(error).splitlines()), "")
                yield Left(name, f"{type(error).__name__}: {line[:200]}")


class _OutOfTimeError(Exception):
    """A variant took longer than it may."""


@contextlib.contextmanager
def _stopped(until: float | None) -> Iterator[None]:
    """Raises _OutOfTimeError within, once the monotonic clock says so; in a main thread."""
    if until is None:
        yield
        return

    def stop(*_: Any) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, until - time.monotonic()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _variant(name: str, peer: "_Peer", first: tuple[Mapping[str, float], np.ndarray]) -> Variant:
    metrics, restored = first
    got = back(peer.restored(), mirrored=peer.mirrored)
    difference = float(np.abs(got - restored).max() / np.abs(restored).max())
    for key, value in peer.step().items():
        difference = max(
            difference, abs(float(value) - metrics[key]) / max(abs(metrics[key]), 1e-3)
        )
    return Variant(name, peer.train, peer.restore, difference)


def network(work: Work, variables: Mapping[str, Any]) -> tuple[nn.Module, bool]:
    """The row's network with these weights, and whether it restores mirror images."""
    config, channels = work.experiment.network, work.degraded.shape[-1]
    if isinstance(config, REDCNNConfig):
        net = _OnImage(REDCNN(config.width))
        return load(net, variables, mirrored=False, renamed=_REDCNN), False
    if isinstance(config, CNN10Config):
        return load(_OnImage(cnn10()), variables, mirrored=False, renamed=_CNN10), False
    # Strides of the critic pad both sides, as PyTorch's; those of the networks pad one.
    mirrored = not isinstance(work.experiment.method, WGAN)
    if isinstance(config, VAEConfig):
        return load(torch_latent.VAE(config), variables, mirrored=True), True
    net = _PLAIN[type(config)](config, work.dims, channels)  # pyright: ignore
    return load(net, variables, mirrored=mirrored), mirrored


class _Peer:
    """A network in one layout, eager or compiled, on its device."""

    def __init__(self, work: Work, ours: Ours, memory: torch.memory_format, compiled: bool):
        self._work, self._ours, method = work, ours, work.experiment.method
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        net, self.mirrored = network(work, ours.variables)
        self._memory, self._half = memory, work.dtype == "bfloat16"
        self._degraded, self._clean = (
            self._image(x) for x in (ours.batch.degraded, ours.batch.clean)
        )
        schedule = work.experiment.schedule
        decay = method.ema_decay  # pyright: ignore[reportAttributeAccessIssue]
        learner = partial(Learner, half=self._half)
        self._learner = learner(self._placed(net), rate=schedule.peak, decay=decay)
        nets = [self._learner.net, self._learner.average]
        self.step: Callable[[], Metrics]
        data = (self._degraded, self._clean)
        if isinstance(method, CGAN):
            channels = self._degraded.shape[1] + self._clean.shape[1]
            judge = PatchGAN(method.discriminator, work.dims, channels)
            judge = self._placed(load(judge, ours.start.discriminator.variables))
            discriminator = learner(judge, rate=schedule.peak)
            nets.append(judge)
            self.step = partial(torch_methods.cgan, self._learner, discriminator, method, *data)
        elif isinstance(method, WGAN):
            space = tuple(self._clean.shape[2:])
            judge = Critic(method.critic, space, self._clean.shape[1])
            judge = self._placed(load(judge, ours.start.critic.variables, mirrored=False))
            critic = learner(judge, rate=method.critic_rate, betas=(0.5, 0.9))
            # Not compiled: a compiled network has no second derivative, which the penalty needs.
            shares = [torch.tensor(x, device=self._device) for x in _shares(ours, method)]
            self.step = partial(torch_methods.wgan, self._learner, critic, method, *data, shares)
        elif isinstance(method, VAE):
            noise = _noise(work, ours)
            noise = self._image(noise) if noise.ndim > 2 else torch.tensor(noise).to(self._device)
            self.step = partial(torch_methods.vae, self._learner, method, *data, noise)
            if compiled:
                whole: Any = self._learner.net
                whole.reconstruct = torch.compile(whole.reconstruct, dynamic=False)
        else:
            self.step = partial(torch_methods.regression, self._learner, *data)
        if compiled:
            for each in nets:
                assert each is not None
                each.compile(dynamic=False)

    def restored(self) -> torch.Tensor:
        """What the averaged network restores."""
        net = self._learner.average
        assert net is not None
        with torch.inference_mode(), self._learner.computing():
            return net(self._degraded)

    def train(self, times: int) -> float:
        return self._timed(self.step, times)

    def restore(self, times: int) -> float:
        return self._timed(self.restored, times)

    def _timed(self, call: Callable[[], Any], times: int) -> float:
        self._settle()
        begin = time.perf_counter()
        for _ in range(times):
            call()
        self._settle()
        return (time.perf_counter() - begin) / times

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _placed(self, net: nn.Module) -> nn.Module:
        return copy.deepcopy(net).to(self._device).to(memory_format=self._memory)  # pyright: ignore

    def _image(self, x: Any) -> torch.Tensor:
        tensor = image(np.asarray(x), mirrored=self.mirrored).to(self._device)
        fits = self._memory == torch.contiguous_format or tensor.ndim == self._work.dims + 2
        return tensor.contiguous(memory_format=self._memory) if fits else tensor


def _shares(ours: Ours, method: WGAN) -> list[np.ndarray]:
    """What medjax's step mixes real images and fakes by, one array an update."""
    keys = jax.random.split(jax.random.fold_in(ours.key, 1), method.critic_updates)
    ones = (1,) * (ours.batch.clean.ndim - 1)
    shape = (len(ours.batch.clean), *ones)
    return [np.asarray(jax.random.uniform(key, shape)) for key in keys]


def _noise(work: Work, ours: Ours) -> np.ndarray:
    """What medjax's step draws its latent with."""
    net = work.experiment.network.build()
    rngs = {"latent": jax.random.fold_in(ours.key, 1)}
    key: Any = net.apply({}, rngs=rngs, method=lambda module: module.make_rng("latent"))
    shapes = jax.eval_shape(
        lambda v, *x: net.apply(v, *x, rngs=rngs, method="reconstruct"),
        ours.variables,
        *ours.batch,
    )
    return np.asarray(jax.random.normal(key, shapes.posterior.mean.shape))
