"""DICOM-CT-PD files written by pydicom alone: analytic projections of ellipsoids.

Everything follows the format's user manual (version 3) and shares no code with the reader: points
are in the manual's frame, (x, y) = radius (-sin phi, cos phi).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

MU_WATER = 0.0192
SLOPE, INTERCEPT = 1e-4, -0.1

# centre (x, y, z), semi-axes in mm, HU that it adds to what it lies in (the first: to vacuum).
BODY = ((0.0, 0.0, 0.0), (80.0, 60.0, 400.0), 1000.0)
SPHERE = ((30.0, 20.0, 4.0), (16.0, 16.0, 16.0), 300.0)
LUNG = ((-35.0, -10.0, 0.0), (20.0, 24.0, 60.0), -600.0)
PHANTOM = (BODY, SPHERE, LUNG)


@dataclasses.dataclass(frozen=True)
class Scanner:
    shape: str = "CYLINDRICAL"
    rows: int = 16
    columns: int = 184
    row_mm: float = 2.2
    column_mm: float = 2.4
    d0: float = 1085.6
    rho: float = 595.0
    # Counted from 1, a quarter of an element off the middle.
    central: tuple[float, float] = (92.75, 8.5)


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Focal centre and shift of the focal spot (angle, z, radius) of every view."""

    phi: np.ndarray
    z: np.ndarray
    shift: np.ndarray
    mode: str = "FFSNONE"
    turn: int = 180


def trajectory(
    views: int, turn: int = 180, feed: float = 0.0, z: float = 0.0, mode: str = "FFSNONE"
) -> Trajectory:
    """`feed` mm a turn around `z`; the focal spot flies as its mode says."""
    k = np.arange(views)
    phi = 0.4 + k * 2 * np.pi / turn
    states = {
        "FFSNONE": [(0, 0, 0)],
        "FFSZ": [(3e-4, -0.66, 5.4), (3e-4, 0.66, -5.4)],
        "FFSXY": [(-1.0e-3, 0, 0.3), (1.0e-3, 0, -0.3)],
        "FFSXYZ": [(-1e-3, -0.6, 5), (1e-3, -0.6, 5.2), (-1e-3, 0.6, -5), (1e-3, 0.6, -5.2)],
    }[mode]
    shift = np.array(states, float)[k % len(states)]
    return Trajectory(phi, z + (k - (views - 1) / 2) * feed / turn, shift, mode, turn)


def line_integrals(phantom: Sequence[tuple], scanner: Scanner, path: Trajectory) -> np.ndarray:
    """Exact line integrals [view, row, column] from focal spot to the middle of each element."""
    s = scanner
    column = (np.arange(1, s.columns + 1) - s.central[0]) * s.column_mm
    row = (s.central[1] - np.arange(1, s.rows + 1)) * s.row_mm
    total = np.zeros((len(path.phi), s.rows, s.columns))
    for i, (phi, z, shift) in enumerate(zip(path.phi, path.z, path.shift, strict=True)):
        inward, across = np.array([np.sin(phi), -np.cos(phi)]), np.array([np.cos(phi), np.sin(phi)])
        centre = -s.rho * inward
        if s.shape == "FLAT":
            flat = s.d0 * inward + column[:, None] * across
        else:
            beta = column / s.d0
            flat = s.d0 * (np.cos(beta)[:, None] * inward + np.sin(beta)[:, None] * across)
        lift = np.ones(s.rows), row
        if s.shape == "SPHERICAL":
            lift = np.cos(row / s.d0), s.d0 * np.sin(row / s.d0)
        ends = np.empty((s.rows, s.columns, 3))
        ends[..., :2] = centre + lift[0][:, None, None] * flat
        ends[..., 2] = z + lift[1][:, None]
        radius, angle = s.rho + shift[2], phi + shift[0]
        start = np.array([-radius * np.sin(angle), radius * np.cos(angle), z + shift[1]])
        for middle, axes, hu in phantom:
            total[i] += MU_WATER * hu / 1000 * chord(start, ends, middle, axes)
    return total


def chord(start: np.ndarray, ends: np.ndarray, middle: tuple, axes: tuple) -> np.ndarray:
    """Length of the lines from `start` through `ends` [..., 3] inside an ellipsoid."""
    way = ends - start
    a = np.sum((way / axes) ** 2, -1)
    b = np.sum(way / axes * ((start - middle) / axes), -1)
    c = np.sum(((start - middle) / axes) ** 2, -1) - 1
    root = np.sqrt(np.maximum(b * b - a * c, 0))
    return 2 * root / a * np.linalg.norm(way, axis=-1)


def slice_hu(phantom: Sequence[tuple], size: int, pixel_mm: float, z: float) -> np.ndarray:
    """The plane as seen from the table, upright: rows against y, columns along x."""
    k = (np.arange(size) - (size - 1) / 2) * pixel_mm
    x, y = k[None, :], -k[:, None]
    hu = np.full((size, size), -1000.0)
    for middle, axes, added in phantom:
        place = ((x - middle[0]) / axes[0]) ** 2 + ((y - middle[1]) / axes[1]) ** 2
        hu += added * (place + ((z - middle[2]) / axes[2]) ** 2 < 1)
    return hu


def header(scanner: Scanner, path: Trajectory, i: int, *, v8: bool = False) -> Dataset:
    """The header of view `i`; `v8` as in dictionary v8: shifts swapped, water at (0018,0061)."""
    s = scanner
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.9.{i + 1}"
    ds.Modality, ds.PatientID, ds.PatientName = "CT", "patient-7", "Doe^Jane"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = "1.2.3", "1.2.4", i + 1
    ds.PatientPosition = "HFS"
    ds.XRayTubeCurrent = int(current(path.phi[i]))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(SLOPE), str(INTERCEPT), "US"
    ds.Rows, ds.Columns = s.columns, s.rows
    for group, name in (
        (0x7029, "DetectorSystemArrangementModule"),
        (0x7031, "DetectorDynamicsModule"),
        (0x7033, "SourceDynamicsModule"),
        (0x7037, "ProjectionDataDefinitions"),
        (0x7039, "PreprocessingFlagsModule"),
        (0x7041, "WaterAttenuationModule"),
    ):
        ds.add_new((group, 0x0010), "LO", name)
    angle, axial, radial = path.shift[i]
    first, second = (axial, angle) if v8 else (angle, axial)
    add = ds.add_new
    add(0x70291010, "US", s.rows)
    add(0x70291011, "US", s.columns)
    add(0x70291002, "FL", s.column_mm)
    add(0x70291006, "FL", s.row_mm)
    add(0x7029100B, "CS", s.shape)
    add(0x70311001, "FL", float(np.mod(path.phi[i], 2 * np.pi)))
    add(0x70311002, "FL", float(path.z[i]))
    add(0x70311003, "FL", s.rho)
    add(0x70311031, "FL", s.d0)
    add(0x70311033, "FL", list(s.central))
    add(0x7033100B, "FL", float(first))
    add(0x7033100C, "FL", float(second))
    add(0x7033100D, "FL", float(radial))
    add(0x7033100E, "CS", path.mode)
    add(0x70331013, "US", path.turn)
    add(0x70331061, "US", 1)
    add(0x70331063, "US", 1)
    add(0x70331065, "FL", list(photons(scanner, path.phi[i])))
    add(0x70371009, "CS", "HELICAL" if np.ptp(path.z) else "AXIAL")
    add(0x7037100A, "CS", "FANBEAM")
    add(0x70391003, "CS", "YES")
    add(0x70391008, "CS", "NO")
    add(0x70391009, "CS", "YES")
    add(*((0x00180061, "DS") if v8 else (0x70411001, "DS")), str(MU_WATER))
    return ds


def current(phi: float) -> float:
    """Tube current in mA, modulated twice a turn."""
    return round(200 + 80 * np.cos(2 * phi))


def photons(scanner: Scanner, phi: float) -> np.ndarray:
    """Through air, with a bowtie: fewer at the edges."""
    edge = np.linspace(-1, 1, scanner.columns)
    return current(phi) * 100 * np.exp(-3 * edge**2)


def write(
    folder: Path,
    scanner: Scanner,
    path: Trajectory,
    values: np.ndarray,
    *,
    implicit: bool = True,
    v8: bool = False,
) -> list[Path]:
    """One file a view, transposed as the public files are; names in no order of acquisition."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.rint((values - INTERCEPT) / SLOPE).astype(np.uint16)
    paths = []
    for i, view in enumerate(stored):
        ds = header(scanner, path, i, v8=v8)
        paths.append(save(ds, view.T, folder / f"{(i * 7919) % 99991:05d}.dcm", implicit=implicit))
    return paths


def save(ds: Dataset, stored: np.ndarray, path: Path, *, implicit: bool = True) -> Path:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    ds.PixelData = np.ascontiguousarray(stored).tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path
