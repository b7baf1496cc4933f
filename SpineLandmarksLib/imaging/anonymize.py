"""DICOM without the patient: the basic profile of DICOM PS3.15 annex E, with geometry and pixels as they were.

The table of attributes is that of the package dicom-anonymizer, which follows table E.1-1; it is applied inside
sequences too. The image plane is none of its attributes and stays. Of the series description the words that name a
sequence or a plane stay (Clean Descriptors Option): they tell T1 from T2. UIDs and the patient's ID are replaced by
keyed hashes (HMAC-SHA-256), so that the files of one study stay one study, and a later run with the same key gives the
same names. The pixels are not looked at: names burned into them stay.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from SpineLandmarksLib.errors import InputError, OutputError, SpineLandmarksError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.imaging.dicom_header import looks_like_dicom
from SpineLandmarksLib.imaging.discover import files_below
from SpineLandmarksLib.imaging.volume import reading

TABLE = "dicomfields_2026c"
#: What PS3.15 has a file say of itself, from context group 7050.
_METHODS = (
    ("113100", "DCM", "Basic Application Confidentiality Profile"),
    ("113105", "DCM", "Clean Descriptors Option"),
)
#: All that may stay of a series description.
_WORDS = re.compile(
    r"T[12]W?|PD|STIR|TIRM|FLAIR|DIXON|SPACE|VISTA|[TF]SE|FFE|GRE|SE|IR|FS|FATSAT|WATER|FAT|IN|OPP|[WFL]|DWI|ADC|GD|POST|PRE"
    r"|[23]D|SAG|SAGITTAL|AX|AXIAL|TRA|TRANSVERSAL|COR|CORONAL|SPINE|LUMBAR|LSPINE|LS|LOC|LOCALIZER|SCOUT|SURVEY",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Anonymized:
    """written: new files. left_out: why each other file was not written. warnings: what a person should look at."""

    written: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Pseudonyms:
    """Names made from a key: the same in, the same out; without the key nobody can tell which belong together."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def digest(self, kind: str, text: str) -> bytes:
        return hmac.new(self.key, f"{kind}/{text}".encode("utf-8", "replace"), sha256).digest()

    def uid(self, uid: str) -> str:
        """A UID under 2.25, the root of UUIDs (PS3.5 annex B.2)."""
        return f"2.25.{int.from_bytes(self.digest('uid', uid)[:16], 'big')}"

    def patient(self, identity: str) -> str:
        return f"P{self.digest('patient', identity).hex()[:10].upper()}"


def read_key(file: Path | None) -> bytes:
    """The key in a file, made there when there is none; a random one that is forgotten when no file is named."""
    if file is None:
        return secrets.token_bytes(32)
    try:
        if file.is_file():
            key = bytes.fromhex(file.read_text(encoding="ascii").strip())
            if len(key) < 16:
                raise ValueError("too short")
            return key
        return _new_key(file)
    except ValueError as error:
        raise InputError(f"Expected a key of 32 or more hexadecimal digits in {file}; got something else") from error
    except OSError as error:
        raise OutputError(f"Could not keep the key in {file}: {error.strerror}") from error


def _new_key(file: Path) -> bytes:
    """Made in the file, which nobody else may read; of a file that cannot be written whole nothing stays."""
    key = secrets.token_bytes(32)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(key.hex() + "\n")
            opened.flush()
            os.fsync(descriptor)
    except OSError:
        file.unlink()
        raise
    return key


def anonymize(
    inputs: Sequence[Path], output: Path, key: bytes, progress: Callable[[int], None] | None = None
) -> Anonymized:
    """Write every DICOM image of `inputs` to `output`/PATIENT/STUDY/SERIES/INSTANCE.dcm, all four as new names.

    What is no image (reports, encapsulated documents) may hold a name anywhere and is left out, as is what cannot be
    read. No message repeats a file's name or what its header says.
    """
    written: list[Path] = []
    left_out: list[str] = []
    warnings: set[str] = set()
    pseudonyms = Pseudonyms(key)
    for number, file in enumerate(_dicom_files(inputs), start=1):
        try:
            written.append(_anonymize_file(file, output, pseudonyms, warnings))
        except OutputError:
            raise
        except SpineLandmarksError as error:
            left_out.append(f"file {number}: {str(error).replace(file.name, 'it')}")
        if progress:
            progress(number)
    if not written:
        raise InputError(f"Expected DICOM images to anonymize; got none that can be written. {' '.join(left_out[:1])}")
    return Anonymized(tuple(written), tuple(left_out), tuple(sorted(warnings)))


def anonymize_dataset(dataset: Any, pseudonyms: Pseudonyms) -> None:
    """Change a pydicom Dataset in place. Raises what the package raises for an attribute of a kind it does not know."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset as apply_profile
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    identity = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or "")
    description = sequence_words(str(dataset.get("SeriesDescription") or ""))
    actions = initialize_actions(TABLE)
    uids = {tag: _replace_uid(pseudonyms) for tag, action in actions.items() if action.__name__ == "replace_UID"}
    _apply_inside(dataset, lambda part: apply_profile(part, uids, True, actions.copy))
    if description:
        dataset.SeriesDescription = description
    dataset.PatientID = dataset.PatientName = pseudonyms.patient(identity)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "SpineLandmarks: PS3.15 basic profile, pixels not cleaned"
    dataset.DeidentificationMethodCodeSequence = [_coded(*method) for method in _METHODS]


def sequence_words(description: str) -> str:
    """The words of a series description that name a sequence or a plane.

    >>> sequence_words("T2 TSE sag Dr. Miller_2")
    'T2 TSE sag'
    """
    words = re.findall(r"[A-Za-z0-9]+", description)
    return " ".join(word for word in words if _WORDS.fullmatch(word))


def _apply_inside(dataset: Any, change: Callable[[Any], None]) -> None:
    """Sequences first: what the profile keeps of them must be clean, too."""
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _apply_inside(item, change)
    change(dataset)


def _replace_uid(pseudonyms: Pseudonyms) -> Callable[[Any, Any], None]:
    def act(dataset: Any, tag: Any) -> None:
        from pydicom.multival import MultiValue

        element = dataset.get(tag)
        if element is None or not element.value:
            return
        several = isinstance(element.value, (MultiValue, list))
        element.value = [pseudonyms.uid(uid) for uid in element.value] if several else pseudonyms.uid(element.value)

    return act


def _anonymize_file(file: Path, output: Path, pseudonyms: Pseudonyms, warnings: set[str]) -> Path:
    import pydicom

    with reading(file, "a DICOM file"):
        dataset = pydicom.dcmread(file, force=True)
        if "PixelData" not in dataset or "Rows" not in dataset:
            raise InputError("Expected an image; it holds none, and may name the patient anywhere")
        if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
            warnings.add("Some images say that text is burned into their pixels, which were not changed: look at them")
        if str(dataset.get("RecognizableVisualFeatures", "")).upper() == "YES":
            warnings.add("Some images say that they show a face")
        dataset.remove_private_tags()
        for group in (0x6000, 0x5000):  # overlays and curves may be drawn text
            dataset = _without_groups(dataset, group)
        anonymize_dataset(dataset, pseudonyms)
        if "MediaStorageSOPInstanceUID" in dataset.file_meta:
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.preamble = b"\0" * 128  # may hold anything
    instance = dataset.get("SOPInstanceUID") or pseudonyms.digest("file", str(file)).hex()[:16]
    parents = (dataset.PatientID, *(dataset.get(f"{kind}InstanceUID") or kind for kind in ("Study", "Series")))
    target = output.joinpath(*map(str, parents), f"{instance}.dcm")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {target.parent}: {error.strerror}") from error
    with write_atomically(target) as opened:
        dataset.save_as(opened, enforce_file_format=False)
    return target


def _without_groups(dataset: Any, group: int) -> Any:
    for element in [element for element in dataset if element.tag.group & 0xFF00 == group]:
        del dataset[element.tag]
    return dataset


def _coded(value: str, scheme: str, meaning: str) -> Any:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _dicom_files(inputs: Sequence[Path]) -> list[Path]:
    found = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"Expected an existing file or folder; there is no {path}")
        for file in files_below(path):
            with file.open("rb") as opened:
                if looks_like_dicom(opened.read(132)):
                    found.append(file)
    return found
