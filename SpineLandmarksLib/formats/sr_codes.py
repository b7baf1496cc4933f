"""The codes of a report: value, scheme, meaning. Standard ones where there are, ours where there are none."""

from __future__ import annotations

from SpineLandmarksLib.landmarks import CORNERS22, STATUSES

#: Coded entry: value, scheme, meaning.
Coded = tuple[str, str, str]
#: Our own scheme, as PS3.16 section 8.2 names private ones.
OURS = "99SPINELM"

#: Finding sites, SNOMED CT.
SITES: dict[str, Coded] = {
    name: (value, "SCT", meaning)
    for name, value, meaning in (
        ("T12-L1", "76206002", "T12/L1 disc"),
        ("L1", "66794005", "L1 vertebra"),
        ("L1-L2", "80064006", "L1/L2 disc"),
        ("L2", "14293000", "L2 vertebra"),
        ("L2-L3", "67459009", "L2/L3 disc"),
        ("L3", "36470004", "L3 vertebra"),
        ("L3-L4", "62551000", "L3/L4 disc"),
        ("L4", "11994002", "L4 vertebra"),
        ("L4-L5", "84020006", "L4/L5 disc"),
        ("L5", "49668003", "L5 vertebra"),
        ("L5-S1", "715056000", "L5/S1 disc"),
    )
}
NAMES = {coded[0]: name for name, coded in SITES.items()}
_SIDES = {"ant": "Front", "post": "Back", "sup": "upper", "inf": "lower"}
#: Corners of endplates, which SNOMED CT has no codes for.
CORNER_SITES: dict[str, Coded] = {
    name: (name, OURS, f"{_SIDES[side]} corner of the {_SIDES[end]} endplate of {body}")
    for name, (body, end, side) in ((name, name.split(".")) for name in CORNERS22)
}
SPINE: Coded = ("122496007", "SCT", "Lumbar spine")
POINT: Coded = ("711101009", "SCT", "Anatomical point")
CENTER: Coded = ("111010", "DCM", "Center")
PROCEDURE: Coded = ("25056-3", "LN", "MRI Unspecified Body Region")
CERTAINTY: Coded = ("111012", "DCM", "Certainty of Finding")
RADIUS: Coded = ("radius95", OURS, "Radius that holds the true position in 95 %")
STATUS: Coded = ("status", OURS, "Status of the landmark")
STATUS_VALUES: dict[str, Coded] = {status: (status, OURS, status.replace("_", " ").capitalize()) for status in STATUSES}
REVIEW: Coded = ("needs-review", OURS, "Needs review before use")
ANSWERS: dict[bool, Coded] = {True: ("373066001", "SCT", "Yes"), False: ("373067005", "SCT", "No")}
WHOLE: Coded = ("landmark-set", OURS, "Landmarks of the study as a whole")
COMMENT: Coded = ("121106", "DCM", "Comment")
MEASURED: Coded = ("measurements", OURS, "Measurements by the corners of endplates")
LOW95: Coded = ("low95", OURS, "Lower end of the interval that holds the true value in 95 %")
HIGH95: Coded = ("high95", OURS, "Upper end of the interval that holds the true value in 95 %")
USUAL_LOW: Coded = ("usual-low", OURS, "Lower end of what literature found in people without complaints")
USUAL_HIGH: Coded = ("usual-high", OURS, "Upper end of what literature found in people without complaints")
#: By the shift in levels.
NUMBERINGS: dict[int, Coded] = {
    0: ("numbering-kept", OURS, "Probability that the names are right as they are"),
    +1: ("numbering-higher", OURS, "Probability that all names belong one level toward the head"),
    -1: ("numbering-lower", OURS, "Probability that all names belong one level toward the feet"),
}
