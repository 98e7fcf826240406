"""Medical images: NIfTI by nibabel, DICOM by pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InvalidInputError
from .base import FilePlugin, Form, library, readable


class NiftiPlugin(FilePlugin):
    """Volumes in .nii and .nii.gz files; the affine is no part of an array."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("nii", "nii.gz"))

    def load(self, fpath: Any, *, form: Form | None = None) -> tuple[Any, str]:  # noqa: ARG002
        """As `BasePlugin.load`: values as stored, or scaled where the file says how."""
        nibabel = library("nibabel", "nifti")
        path = Path(fpath)
        path.stat()
        with readable(path, "a NIfTI file"):
            array = np.array(nibabel.load(path).dataobj[...], order="C")
        return array.astype(array.dtype.newbyteorder("="), copy=False), self.sample_name(path)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:
        """As `FilePlugin.write`, with an identity affine."""
        nibabel = library("nibabel", "nifti")
        try:
            image = nibabel.Nifti1Image(data, np.eye(4), dtype=data.dtype, **options)
            # It goes by the extension, which the file to write to lacks until it is whole.
            named = path.with_name(f"{path.name}{extension}")
            nibabel.save(image, named)
        except (nibabel.spatialimages.HeaderDataError, ValueError, TypeError) as error:
            raise InvalidInputError(f"cannot be a {extension} file: {error}") from error
        named.replace(path)


class DicomPlugin(FilePlugin):
    """Pixels of DICOM files; to save, as secondary capture without a patient."""

    def __init__(self) -> None:
        super().__init__(("load", "save"), ("dcm", "dicom"))

    def load(self, fpath: Any, *, form: Form | None = None) -> tuple[Any, str]:  # noqa: ARG002
        """As `BasePlugin.load`: stored values, without rescaling."""
        pydicom = library("pydicom", "dicom")
        with readable(fpath, "a DICOM file"):
            array = np.ascontiguousarray(pydicom.dcmread(fpath).pixel_array)
        return array.astype(array.dtype.newbyteorder("="), copy=False), self.sample_name(fpath)

    def write(self, path: Path, data: Any, extension: str, **options: Any) -> None:
        """As `FilePlugin.write`: gray of 8 or 16 bits, or uint8 in RGB."""
        pydicom = library("pydicom", "dicom")
        is_color = data.ndim == 3 and data.shape[2] == 3 and data.dtype == np.uint8
        if not (is_color or (data.ndim == 2 and data.dtype in ("u1", "u2", "i2"))) or options:
            raise InvalidInputError(
                f"dtype {data.dtype} and shape {data.shape} cannot be a {extension} file: uint8,"
                f" uint16 or int16, and height, width; or uint8 with 3 channels"
            )
        uid = pydicom.uid
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID = uid.UID("1.2.840.10008.5.1.4.1.1.7")
        meta.MediaStorageSOPInstanceUID = uid.generate_uid()
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        one = pydicom.dataset.Dataset()
        one.file_meta = meta
        one.SOPClassUID = meta.MediaStorageSOPClassUID
        one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
        one.Modality, one.PatientName, one.PatientID = "OT", "", ""
        one.Rows, one.Columns = data.shape[:2]
        one.SamplesPerPixel = 3 if is_color else 1
        one.PhotometricInterpretation = "RGB" if is_color else "MONOCHROME2"
        if is_color:
            one.PlanarConfiguration = 0
        one.BitsAllocated = one.BitsStored = data.dtype.itemsize * 8
        one.HighBit = one.BitsStored - 1
        one.PixelRepresentation = int(data.dtype.kind == "i")
        raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
        one.PixelData = raw + b"\0" * (len(raw) % 2)
        one["PixelData"].VR = "OB" if data.dtype.itemsize == 1 else "OW"
        pydicom.dcmwrite(path, one, enforce_file_format=True)
