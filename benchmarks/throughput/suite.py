"""The rows: each network under its method, as a published experiment has them or nearly so."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import input_shape
from medjax.build import method_of
from medjax.errors import UserError
from medjax.experiment import Data, Experiment, find, load
from medjax.losses.config import L1, L2, LossConfig
from medjax.methods.base import Pair
from medjax.methods.config import CGAN, VAE, WGAN, Regression
from medjax.models.base import NetworkConfig
from medjax.models.critic import CriticConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.unet import UNetConfig
from medjax.models.vae import VAEConfig
from medjax.nn.blocks import Precision
from medjax.tasks.base import each_axis

Change = Callable[[str], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One network under one method.

    Attributes:
      name: of the row.
      experiment: the published one whose task, data and network it has.
      change: of a setting ("cpu" or "full"), the fields of the experiment that are replaced.
      judged: whether its restorations can be judged on held-out scans.
    """

    name: str
    experiment: str
    change: Change = lambda setting: {}
    judged: bool = True

    def entry(self, setting: str) -> Entry:
        """The row as `benchmarks.restoration` trains it."""
        return Entry(self.name, self.experiment, self.change(setting))


@dataclasses.dataclass(frozen=True)
class Work:
    """A row at one setting, shape and precision: what is timed.

    Attributes:
      row: what it is of.
      experiment: network, method, data with patch and batch. Its loss is L1 (L2 for a VAE), so
        that networks are compared and not losses.
      dtype: in which the network computes.
      degraded: what the network is given, shapes only.
      clean: what it should give back, likewise.
    """

    row: Row
    experiment: Experiment
    dtype: Precision
    degraded: Any
    clean: Any

    @property
    def dims(self) -> int:
        """Axes of space that the network sees."""
        return self.experiment.task.network_dims

    @property
    def images(self) -> int:
        """Patches of a batch."""
        return len(jax.tree.leaves(self.clean)[0])

    @property
    def voxels(self) -> int:
        """Samples of the restored batch."""
        image = self.clean["image"] if isinstance(self.clean, Mapping) else self.clean
        return math.prod(image.shape)

    def batch(self, seed: int = 0) -> Pair:
        """Random images; sinograms' noise levels are positive."""
        leaves, tree = jax.tree.flatten(Pair(self.degraded, self.clean))
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        made = [
            jax.random.uniform(k, x.shape, minval=0.1) for k, x in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, made)


_LARGE = UNetConfig(max_width=512)


def _unet(small: UNetConfig, large: UNetConfig = _LARGE) -> Change:
    """A U-Net with all default options but its size, batch normalised as in its paper's time."""

    def change(setting: str) -> Mapping[str, Any]:
        network = small if setting == "cpu" else large
        return {"network": network, "method": Regression()}

    return change


def _joint(setting: str) -> Mapping[str, Any]:
    """Of joint convolutions, which PyTorch's side has too."""
    network = load(find("mri_motion_cgan3d"), setting).network
    return {"network": dataclasses.replace(network, factorised=False)}


def _wgan(setting: str) -> Mapping[str, Any]:
    critic = CriticConfig(width=8, dense=128) if setting == "cpu" else CriticConfig()
    return {"network": PlainCNNConfig(), "method": WGAN(critic=critic), "loss": L1()}


def _vae(setting: str) -> Mapping[str, Any]:
    side, width = (64, 16) if setting == "cpu" else (128, 64)
    network = VAEConfig(size=(side, side), width=width)
    return {"network": network, "method": VAE()}


ROWS = (
    Row("unet-2d", "ldct_cgan", _unet(UNetConfig(width=16, depth=3))),
    Row("unet-3d", "inpainting_volume_cgan", _unet(UNetConfig(width=8, depth=2))),
    Row(
        "unet-4d",
        "fmri_cgan4d",
        _unet(UNetConfig(width=8, depth=1), UNetConfig(width=32, depth=3, max_width=256)),
    ),
    Row("unet-2d-cgan", "ldct_cgan"),
    Row("unet-3d-cgan", "mri_motion_cgan3d", _joint),
    Row("unet-4d-cgan", "fmri_cgan4d"),
    Row("rdae", "ldct_rdae"),
    Row("autoencoder", "ldct_autoencoder"),
    Row("red-cnn", "ldct_redcnn"),
    Row("cnn10", "ldct_cnn10"),
    Row(
        "plain-cnn",
        "ldct_wgan_vgg",
        lambda s: {"network": PlainCNNConfig(), "method": Regression()},
    ),
    Row("plain-cnn-wgan", "ldct_wgan_vgg", _wgan),
    Row("cvae", "fundus_vae"),
    Row("vae", "fundus_vae", _vae, judged=False),
    Row("attention", "ldct_ddanet_image"),
    Row("ddanet", "ldct_ddanet"),
)
BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}


def planned(row: Row, setting: str) -> Experiment:
    """The row's experiment as it is trained to be judged."""
    return dataclasses.replace(load(find(row.experiment), setting), **row.change(setting))


def work(
    row: Row,
    setting: str,
    dtype: Precision = "float32",
    shape: tuple[int, ...] | None = None,
    batch: int | None = None,
) -> Work:
    """A row to be timed.

    Args:
      row: what to time.
      setting: of its experiment: "cpu" or "full".
      dtype: in which the network computes.
      shape: samples of a patch along each axis; the experiment's if None.
      batch: patches a step; likewise.

    Raises:
      UserError: the shape does not fit the row, or is too small for its network or method.
    """
    experiment = planned(row, setting)
    data, task = experiment.data, experiment.task
    patch = each_axis(data.patch, task.dims) if shape is None else shape
    if len(patch) != task.dims:
        raise UserError(
            f"--shape: {'x'.join(map(str, patch))} has {len(patch)} axes, {row.name} has "
            f"{task.dims}; choose rows with --models"
        )
    network = computing_in(experiment.network, dtype)
    if shape is not None and isinstance(network, VAEConfig):
        network = dataclasses.replace(network, size=shape)
    method = experiment.method
    if isinstance(method, CGAN):
        judge = dataclasses.replace(method.discriminator, dtype=dtype)
        method = dataclasses.replace(method, discriminator=judge)
    if isinstance(method, WGAN):
        method = dataclasses.replace(method, critic=dataclasses.replace(method.critic, dtype=dtype))
    if isinstance(method, VAE):
        # The KL's weight from the first step on, as it is for most of a training.
        method = dataclasses.replace(method, warmup=0, free_bits=0.0)
    loss: LossConfig = L2() if isinstance(method, VAE) else L1()
    changed = dataclasses.replace(
        experiment,
        network=network,
        method=method,
        loss=loss,
        data=Data(data.name, patch, data.batch if batch is None else batch, data.threads),
    )
    try:
        found = _shaped(row, changed, dtype)
        if shape is not None:
            _check(found)
    except (UserError, ValueError) as error:
        # JAX adds lines of its own to what is raised while it traces.
        said = str(error).splitlines()[0]
        raise UserError(f"{row.name} at {'x'.join(map(str, patch))}: {said}") from error
    return found


def _check(given: Work) -> None:
    """Raises ValueError where network or method cannot take the patch; nothing is computed."""
    key, batch = jax.eval_shape(lambda: jax.random.key(0)), Pair(given.degraded, given.clean)
    jax.eval_shape(method_of(given.experiment).init, key, batch)


def _shaped(row: Row, experiment: Experiment, dtype: Precision) -> Work:
    """The experiment's batches by their shapes."""
    patch = each_axis(experiment.data.patch, experiment.task.dims)
    images = experiment.data.batch
    lead = patch[: len(patch) - experiment.task.network_dims]
    batch = images * math.prod(lead)

    def array(shape: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *shape[1:]), jnp.float32)

    given = input_shape(experiment)
    if isinstance(given, Mapping):
        degraded: Any = {name: array(shape) for name, shape in given.items()}
        clean: Any = {n: array((*x.shape[:-1], 1)) for n, x in degraded.items() if n != "level"}
    else:
        degraded, clean = array(given), array((*given[:-1], 1))
    return Work(row, experiment, dtype, degraded, clean)


def computing_in(network: NetworkConfig, dtype: Precision) -> NetworkConfig:
    """The network with its convolutions, and those of networks within it, in `dtype`."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(network):
        value = getattr(network, field.name)
        if field.name == "dtype":
            changes["dtype"] = dtype
        elif isinstance(value, NetworkConfig):
            changes[field.name] = computing_in(value, dtype)
    return dataclasses.replace(network, **changes)
