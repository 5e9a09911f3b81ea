"""Fine-tuning to a real scanner's sharp kernel, on noisy chest slices alone.

    medjax train quickstart --run runs/supervised
    medjax train ldct_self_supervised_chest --start runs/supervised

Needs MEDJAX_DATA's ct_chest_kernel_pairs; for scans of your own, `medjax data prepare FOLDER --name
MINE` and `--data MINE`. There is no truth, so the table that the command prints compares halves of
the noise; `python -m benchmarks.ldct_real` says what became of noise and edges. The same settings
as ldct_self_supervised, whose rehearsal has a truth. That benchmark's docstring has what the `cpu`
setting gave, from a network of ldct_cgan; the `full` one was not run.
"""

import dataclasses

from medjax.experiment import Experiment, find, load
from medjax.tasks.ldct_self_supervised import SelfSupervisedCT


def _real(setting: str) -> Experiment:
    rehearsed = load(find("ldct_self_supervised"), setting)
    assert isinstance(rehearsed.task, SelfSupervisedCT)
    return dataclasses.replace(
        rehearsed,
        name="ldct_self_supervised_chest",
        summary="fine-tuning to a real sharp kernel's noise without clean scans",
        task=SelfSupervisedCT(augment=rehearsed.task.augment),
        data=dataclasses.replace(rehearsed.data, name="ct_chest_sharp"),
    )


full, cpu = _real("full"), _real("cpu")
