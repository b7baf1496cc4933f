"""What the names and codes of a series say of its contrast and its region, in the languages of the hospitals.

Words are whole tokens: "cal" is not found in "local", nor "sub" in "subacute". Accents and case do not count.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from SpineLandmarksLib.imaging.dicom_header import Frame

Region = Literal["lumbar", "elsewhere", ""]
Part = Literal["", "water", "in-phase", "opposed-phase", "fat"]

_LOCALIZER = (
    r"\b(loc|localiz\w*|localis\w*|lokali[sz]\w*|reperage|scout|aa\w*scout|survey|plan ?scan|topogram\w*|calib\w*"
    r"|(3|three|drei|trois|tri) ?(pl|plane|planes|plan|plans|planar|ebenen)|asset cal\w*|smart ?(exam|brain|spine)"
    r"|(ref|reference) ?scan)\b"
)
_DERIVED = (
    r"\b(adc|trace|dwi|dti|diff|diffusion|fa|sub|subtract\w*|mip|mrcp|myelo|myelogra\w*|phase (map|image|contrast)"
    r"|perf|perfusion|reformat\w*|screen ?save)\b"
)
_FAT_SUPPRESSED = r"stir|tirm|spair|spir\b|fat ?(sat|sup)|\bfs\b|t[12]w? ?fs|\b[wf] ?only\b|\bdixon [wf]\b"
#: The parts of a Dixon acquisition, by words anywhere, by the last word of a name with "dixon", and by ImageType.
_PARTS: tuple[tuple[Part, str, str, set[str]], ...] = (
    ("fat", r"\bf(at)? ?only\b|\bfat\b(?! ?(sat|sup))", r"f|fat|fett", {"F", "FAT"}),
    ("opposed-phase", r"\b(opp|opposed|out)( of)? ?phase\b", r"opp|out|op", {"OPP_PHASE", "OUT_PHASE", "OP"}),
    ("in-phase", r"\bin ?phase\b", r"in|ip|inp", {"IN_PHASE", "IP"}),
    ("water", r"\bwater\b|\bw ?only\b", r"w|water|wasser", {"W", "WATER"}),
)
_PHASE_IMAGES = {"P", "PHASE", "PHASE MAP", "ADC", "PROJECTION IMAGE"}
#: Beginnings of words, without accents, then whole words, then texts of scripts that have no spaces.
_LUMBAR = (
    r"\b(lumb|lomb|lomber|ledzwi|bedern|landrygg|lende|lannera|agyeki|пояснич|попереков|οσφυ)"
    r"|\b(l ?spine|ls ?spine|lsp|lss|ls|lws|lwk|lwz)\b|腰|요추|קטנ|מותני|قطني"
)
_ELSEWHERE = (
    r"\b(cerv|servik|szyjn|krcni|nyaki|hals|kaular|шейн|шийн|αυχεν|thor|torac|torak|torak|dors|piersiow|hrudn|brostrygg"
    r"|brystr|rintar|hati|грудн|θωρακ|brain|cereb|head|neck|kopf|schadel|cabeza|crani|голов|knee|knie|genou|rodill|ginocch"
    r"|hip|huft|hanche|pelv|becken|bassin|bacino|shoulder|schulter|epaule|hombro|abdom)"
    r"|\b([ct] ?spine|d ?spine|csp|tsp|hws|hwk|bws|bwk)\b|[頚頸颈胸]椎|경추|흉추|脳|脑"
)
#: Codes of SNOMED (SCT and the older SRT) for the parts of the spine in AnatomicRegionSequence.
_LUMBAR_CODES = {"122496007", "T-11503"}
_ELSEWHERE_CODES = {"122494005", "T-11501", "122495006", "T-11502"}


def words_of(text: str) -> str:
    """Lower case without accents, with single spaces for every separator.

    >>> words_of("T2_TSE-sag Säule")
    't2 tse sag saule'
    """
    letters = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.sub(r"(?:[^\w*]|_)+", " ", letters.casefold()).strip()


def is_called_localizer(frame: Frame) -> bool:
    return bool(re.search(_LOCALIZER, words_of(frame.description)))


def region_of(frame: Frame) -> Region:
    """What the first of the texts that names a region says: the series before the protocol, codes and the procedure."""
    for text in frame.region:
        words = words_of(text)
        if text in _LUMBAR_CODES or re.search(_LUMBAR, words):
            return "lumbar"
        if text in _ELSEWHERE_CODES or re.search(_ELSEWHERE, words):
            return "elsewhere"
    return ""


def part_of(frame: Frame) -> Part:
    """Which part of a Dixon acquisition this is; empty for any other."""
    words, name, kinds = words_of(frame.description), words_of(frame.region[0]), set(frame.image_type[2:])
    is_dixon = bool(re.search(r"dixon|\bideal\b|\bflex\b", words))
    for part, anywhere, last, types in _PARTS:
        if kinds & types or re.search(anywhere, words) or (is_dixon and re.search(rf"\b({last})$", name)):
            return part
    return ""


def contrast_of(frame: Frame) -> str:
    """One of CONTRASTS, from the description, else from sequence, echo, repetition and inversion time."""
    words, part, technique = words_of(frame.description), part_of(frame), frame.technique.split()
    if re.search(_DERIVED, words) or _PHASE_IMAGES & set(frame.image_type[2:]):
        return "derived"
    inversion = frame.inversion_time_ms
    nulls_fat = "IR" in technique and inversion is not None and 80 <= inversion <= 300
    if part in ("fat", "opposed-phase"):
        return part
    if re.search(_FAT_SUPPRESSED, words) or "FS" in technique or nulls_fat:
        return "fat-suppressed"
    for name, pattern in (("T2", r"\bt2|\dt2|t2w"), ("T1", r"\bt1|t1w"), ("PD", r"\bpd|proton")):
        if re.search(pattern, words):
            return name
    return _contrast_by_times(frame.echo_time_ms, frame.repetition_time_ms)


def _contrast_by_times(echo_ms: float | None, repetition_ms: float | None) -> str:
    if echo_ms is None or repetition_ms is None:
        return "unknown contrast"
    if echo_ms >= 60:
        return "T2"
    return "T1" if repetition_ms < 1300 else "PD"
