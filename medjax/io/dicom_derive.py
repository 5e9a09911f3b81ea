"""The header of an image derived from another: new identity, same patient, study and geometry."""

import copy
import dataclasses
import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    generate_uid,
)

import medjax
from medjax.io.dicom_file import attribute

LO_LENGTH = 64
# They speak of the bytes of the original: its signature, its thumbnail, its compression's offsets.
OUTDATED = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "IconImageSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DataSetTrailingPadding",
    "PixelDataProviderURL",
    "SOPInstanceUIDOfConcatenationSource",
    "ConcatenationUID",
    "ConcatenationFrameOffsetNumber",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
)
# Once lossy, always lossy: what the file no longer shows must be said.
LOSSY = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What all files of one restored series share."""

    series: str
    description: str
    moment: datetime.datetime

    @classmethod
    def new(cls, description: str) -> "Stamp":
        """A new series, made now. `description` says what was done, in a few words."""
        plain = description.encode("ascii", "replace").decode().replace("\\", "/").strip()
        return cls(generate_uid(prefix=None), plain, datetime.datetime.now())


def derive(ds: Dataset, stamp: Stamp) -> Dataset:
    """The header for a restored image, still without pixels.

    Kept: patient, study, frame of reference, position, acquisition, overlays (they lie on the same
    pixel grid), lossy compression history, private elements. New: SOPInstanceUID, series,
    ImageType, dates of creation, what was derived from what and by which software. Dropped:
    signatures, thumbnails, and overlays hidden in unused bits of the old pixels.
    """
    derived = _detached(ds)
    for name in OUTDATED:
        if name in derived:
            del derived[name]
    _drop_hidden_overlays(derived, big_endian=ds.original_encoding[1] is False)
    _new_identity(derived, stamp)
    _image_type(derived)
    _provenance(derived, ds, stamp)
    method = LOSSY.get(ds.file_meta.TransferSyntaxUID)
    if method is not None and derived.get("LossyImageCompression") != "01":
        derived.LossyImageCompression, derived.LossyImageCompressionMethod = "01", method
    derived.file_meta = FileMetaDataset()
    derived.file_meta.MediaStorageSOPClassUID = derived.SOPClassUID
    derived.file_meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived.file_meta.ImplementationVersionName = f"MEDJAX {medjax.__version__}"[:16]
    return derived


def _detached(ds: Dataset) -> Dataset:
    """A copy that forgets the encoding: pydicom does not change the byte order of files."""
    original = copy.deepcopy(ds)
    correct_ambiguous_vr(original, is_little_endian=ds.original_encoding[1] is not False)
    detached = Dataset()
    for element in original:
        detached.add(element)
    return detached


def _new_identity(derived: Dataset, stamp: Stamp) -> None:
    derived.SOPInstanceUID = generate_uid(prefix=None)
    derived.SeriesInstanceUID = stamp.series
    suffix = f"medjax {stamp.description}".strip()[:LO_LENGTH]
    original = str(attribute(derived, "SeriesDescription") or "")
    room = LO_LENGTH - len(suffix) - 1
    derived.SeriesDescription = f"{original[: max(room, 0)]} {suffix}".strip()
    series_number = attribute(derived, "SeriesNumber")
    if series_number is not None:
        derived.SeriesNumber = int(series_number) + 1000
    date, time = stamp.moment.strftime("%Y%m%d"), stamp.moment.strftime("%H%M%S.%f")
    derived.InstanceCreationDate, derived.InstanceCreationTime = date, time
    derived.SeriesDate, derived.SeriesTime = date, time
    derived.ContentDate, derived.ContentTime = date, time


def _image_type(derived: Dataset) -> None:
    """DERIVED\\SECONDARY; enhanced objects allow only PRIMARY and name the kind of derivation."""
    enhanced = "SharedFunctionalGroupsSequence" in derived
    derived.ImageType = _derived_type(derived, "ImageType", enhanced=enhanced)
    groups = (
        *(attribute(derived, "SharedFunctionalGroupsSequence") or ()),
        *(attribute(derived, "PerFrameFunctionalGroupsSequence") or ()),
    )
    for functional in groups:
        for element in functional:
            if element.VR == "SQ" and element.value and "FrameType" in element.value[0]:
                item = element.value[0]
                item.FrameType = _derived_type(item, "FrameType", enhanced=True)


def _derived_type(ds: Dataset, keyword: str, *, enhanced: bool) -> list[str]:
    value = attribute(ds, keyword) or []
    rest = [value] if isinstance(value, str) else list(value)
    rest = rest[2:]
    if not enhanced:
        return ["DERIVED", "SECONDARY", *rest]
    rest += ["VOLUME", "NONE"][len(rest) :]
    return ["DERIVED", "PRIMARY", rest[0], "FILTERED" if rest[1] == "NONE" else rest[1], *rest[2:]]


def _provenance(derived: Dataset, ds: Dataset, stamp: Stamp) -> None:
    software = f"medjax {medjax.__version__}"
    derived.DerivationDescription = f"Restored by {software}: {stamp.description}"[:1024]
    purpose = codes.cid7202.SourceImageForImageProcessingOperation
    source = Dataset()
    source.ReferencedSOPClassUID = ds.SOPClassUID
    source.ReferencedSOPInstanceUID = ds.SOPInstanceUID
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = _code(purpose.value, "DCM", purpose.meaning)
    derived.SourceImageSequence = Sequence([source])
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = _code("109103", "DCM", "Modifying Equipment")
    equipment.Manufacturer = "medjax"
    equipment.ManufacturerModelName = "medjax"
    equipment.SoftwareVersions = medjax.__version__
    equipment.ContributionDateTime = stamp.moment.strftime("%Y%m%d%H%M%S")
    equipment.ContributionDescription = "Image restoration; not for primary diagnosis"
    earlier = attribute(derived, "ContributingEquipmentSequence") or ()
    derived.ContributingEquipmentSequence = Sequence([*earlier, equipment])


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def _drop_hidden_overlays(derived: Dataset, *, big_endian: bool) -> None:
    for number in range(0x6000, 0x6020, 2):
        block = derived.group_dataset(number)
        # pydicom does not swap the bytes of overlays that were written big-endian.
        if len(block) and (big_endian or (number, 0x3000) not in block):
            for element in list(block):
                del derived[element.tag]
