"""medjax reconstruct: raw CT projections to a volume, restored by a run where one is given."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from medjax.cli.common import bar, parse, writable
from medjax.errors import UserError

# Views this far outside of the planes still see them: more than any detector's height.
AROUND_MM = 120.0


@dataclasses.dataclass(frozen=True)
class Reconstruct:
    """Reconstructs raw CT projections (DICOM-CT-PD) as a NIfTI volume in HU.

    Helical and axial scans with or without a flying focal spot, by single-slice rebinning and
    filtered backprojection. With --run each slice is restored, by a dual-domain network (such as
    ldct_ddanet) from its projections too. Left and right follow from the files' patient position
    and the format's manual; compare with the scanner's own images before you trust them.

    Attributes:
      projections: the folder of one series.
      output: a .nii or .nii.gz file to write; must not exist yet.
      run: a run folder of an ldct experiment that restores each slice.
      size: pixels a side of a slice.
      pixel_mm: of the slices, in mm; by default the scan's field of view fills them.
      every_mm: mm from slice to slice.
      thickness_mm: of each slice, in mm; 0 is as thin as the detector's rows.
      z: first and last slice in mm, in the files' coordinate; by default all that was measured.
      filter: of the reconstruction: ramp (sharp), shepp-logan or hann (soft). With a run its own.
    """

    projections: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUTPUT")]
    run: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    size: int = 512
    pixel_mm: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None
    every_mm: float = 3.0
    thickness_mm: float = 3.0
    z: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    filter: Literal["ramp", "shepp-logan", "hann"] = "hann"


def run(args: Sequence[str]) -> int:
    chosen = parse(Reconstruct, args, "medjax reconstruct")
    if not chosen.projections.exists():
        raise UserError(f"{chosen.projections}: no such file or folder; check the path")
    if chosen.output.exists() or chosen.output.is_symlink():
        raise UserError(
            f"{chosen.output}: exists already; name another output, nothing was overwritten"
        )
    writable(chosen.output)
    from medjax.io.dicom_projections import read_projections
    from medjax.io.nifti import write_nifti
    from medjax.reconstruct import Planes, reconstruct, volume_name
    from medjax.trained import open_run

    volume_name(chosen.output)
    planes = Planes(chosen.size, chosen.pixel_mm, chosen.every_mm, chosen.thickness_mm, chosen.z)
    trained = None if chosen.run is None else open_run(chosen.run)
    around = chosen.z and (chosen.z[0] - AROUND_MM, chosen.z[1] + AROUND_MM)
    projections = read_projections(chosen.projections, z_range=around)
    for problem in projections.problems:
        sys.stderr.write(f"{problem}\n")
    with bar("reconstructing") as progress:
        scan = reconstruct(
            projections, planes, filter=chosen.filter, run=trained, progress=progress
        )
    by = "" if trained is None else f", {trained.experiment.method.label} {trained.experiment.name}"
    write_nifti(scan, chosen.output, description=f"reconstructed{by}")
    said = "A restored image can mislead: research" if trained else "Research"
    depth, height, width = scan.array.shape
    sys.stdout.write(
        f"wrote {chosen.output} ({depth} slices of {height} x {width}, HU)\n"
        f"{said} use only, not for diagnosis.\n"
        "next: compare it with the scanner's own images, left and right too\n"
    )
    return 0
