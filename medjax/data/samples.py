"""Real CT slices that come with pydicom and pydicom-data, as the dataset "ct_samples".

Each slice is from another patient, and no file is in two splits: what a network learns on
"train" is measured on a head it has never seen, from another scanner.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydicom.data import get_testdata_file

from medjax.data.builder import DatasetInfo, Record, Shard
from medjax.data.convert import fill_invalid
from medjax.data.recipes import Recipe, record_of
from medjax.errors import UserError
from medjax.io import read_scan
from medjax.scan import Scan

NAME = "ct_samples"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One bundled file: what pydicom calls it, what it shows, the split it belongs to."""

    file: str
    case: str
    split: str


SAMPLES = (
    Sample("J2K_pixelrep_mismatch.dcm", "head-a", "train"),
    Sample("explicit_VR-UN.dcm", "abdomen", "train"),
    # A validation slice of its own, so that no checkpoint is chosen on the test slice.
    Sample("bad_sequence.dcm", "neck-spine", "valid"),
    Sample("693_UNCR.dcm", "head-b", "test"),
    Sample("CT_small.dcm", "small-128", "extra"),
)

INFO = DatasetInfo(
    name=NAME,
    version="1.0.0",
    licence="MIT, as part of pydicom and pydicom-data",
    source="CT slices of five patients from the test files of pydicom and pydicom-data",
    modality="CT",
    unit="HU",
)


# Patients that no network has seen which learned on `INFO`'s "train".
OTHERS_INFO = dataclasses.replace(
    INFO,
    name="ct_samples_others",
    source="CT slices from the test files of pydicom and pydicom-data, of two patients that are "
    "not among those of ct_samples' training split: a neck to fine-tune on, a head to test",
)
OTHERS = {"neck-spine": "train", "head-b": "test"}


def sample_file(name: str) -> Path:
    """The path of one of pydicom's test files, without ever asking the network.

    Raises:
      UserError: pydicom-data is not installed.
    """
    found = get_testdata_file(name, download=False)
    if found is None:
        raise UserError(
            f"the sample {name} is not installed: install it with `pip install 'medjax[samples]'`"
        )
    return Path(str(found))


def _shards(samples: Sequence[Sample] = SAMPLES) -> Mapping[str, Sequence[Shard]]:
    files = {sample: sample_file(sample.file) for sample in samples}

    def shard(split: str) -> Iterator[Record]:
        for sample, file in files.items():
            if sample.split == split:
                yield _record(sample, read_scan(file))

    names = dict.fromkeys(sample.split for sample in samples)
    return {name: [lambda name=name: shard(name)] for name in names}


def _record(sample: Sample, scan: Scan) -> Record:
    return record_of(INFO, fill_invalid(scan), sample.case, spacing=scan.spacing)


def _others() -> Mapping[str, Sequence[Shard]]:
    return _shards(
        [dataclasses.replace(s, split=OTHERS[s.case]) for s in SAMPLES if s.case in OTHERS]
    )


RECIPE = Recipe(INFO, _shards)
OTHERS_RECIPE = Recipe(OTHERS_INFO, _others)
