"""Low-dose CT with CNN10 (Chen et al., Biomed Opt Express 8:679), three convolutions.

    medjax train ldct_cnn10

The network sees the slice alone, as published, without the noise level that the others are told.
Slices, doses, patches, steps and learning rates are those of ldct_redcnn; both settings have the
published layers. The `full` setting is for accelerators; neither was measured yet.
"""

import dataclasses

from medjax.experiment import find, load
from medjax.models.cnn10 import CNN10Config

full, cpu = (
    dataclasses.replace(
        load(find("ldct_redcnn"), setting),
        name="ldct_cnn10",
        summary="CNN10 for low-dose CT",
        network=CNN10Config(),
    )
    for setting in ("full", "cpu")
)
