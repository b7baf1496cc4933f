"""Who votes on the level, and what becomes of a vote that is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.imaging.dicom_study import NO_VOTE
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.predict import Localizer, predict
from SpineLandmarksLib.uncertainty import MAX_CONFIDENCE
from SpineLandmarksLib.votes import by_majority, shift_between, with_votes

#: (13, 3) places 16 mm apart, of which eleven are the landmarks' and one on either side is free.
PLACES = np.stack([np.zeros(15), np.linspace(0, 5, 15), -16.0 * np.arange(15)], -1)


def a_chain(first: int, probability: float, higher: float = 0.0) -> LandmarkSet:
    marks = [Landmark(name, "predicted", tuple(PLACES[first + row]), None, 0.9) for row, name in enumerate(LUMBAR11)]
    rest = 1 - probability - higher
    return LandmarkSet(tuple(marks), numberings=((0, probability), (1, higher), (-1, rest)), needs_review=False)


def test_the_shift_is_how_the_names_must_move_to_agree() -> None:
    assert shift_between(PLACES[2:13], PLACES[2:13]) == 0
    # Its names stand one level too far toward the feet: they must move toward the head, which is +1.
    assert shift_between(PLACES[4:15], PLACES[2:13]) == 1
    assert shift_between(PLACES[0:11], PLACES[2:13]) == -1
    assert shift_between(PLACES[2:13] + 40, PLACES[2:13]) is None
    assert shift_between(np.full((11, 3), np.nan), PLACES[2:13]) is None


@pytest.mark.parametrize(("margins", "wins"), [([5, 4, 4, 1], 1), ([9, 4, 4, 1], 0), ([50, 20, 20, 0], 1)])
def test_of_slices_the_greater_sum_of_margins_wins_and_none_is_too_sure(margins: list[float], wins: int) -> None:
    places = [PLACES[2:13], PLACES[4:15], PLACES[4:15], np.full((11, 3), np.nan)]
    assert by_majority(0, places, margins, np.array([-3.0, -4.0, -5.0, -1.0])) == wins


def test_series_that_agree_make_the_level_surer() -> None:
    voted = with_votes(a_chain(2, 0.8, 0.05), [a_chain(2, 0.8, 0.05), a_chain(2, 0.9, 0.05)], 0.5)
    assert dict(voted.numberings)[0] > 0.95
    assert sum(p for _, p in voted.numberings) == pytest.approx(1)
    assert not voted.needs_review
    assert not voted.warnings
    assert voted["L3"].confidence > 0.9


def test_however_many_agree_nothing_is_said_to_be_certain() -> None:
    voted = dict(with_votes(a_chain(2, 0.99, 0.005), [a_chain(2, 0.99, 0.005)] * 6, 0.5).numberings)
    assert voted[0] == pytest.approx(MAX_CONFIDENCE)
    assert sum(voted.values()) == pytest.approx(1)


def test_a_series_on_another_level_is_told_and_makes_the_level_doubtful() -> None:
    lower = a_chain(4, 0.9)  # its L3 is at our L4: by it our names belong one level toward the feet
    voted = with_votes(a_chain(2, 0.8, 0.1), [lower], 0.5)
    assert voted.needs_review
    assert "1 of 1 other series of this study count the levels one lower" in voted.warnings[-1]
    assert dict(voted.numberings)[0] < 0.8
    assert {mark.name: mark.position_ras_mm for mark in voted} == {
        mark.name: mark.position_ras_mm for mark in a_chain(2, 0.8)
    }


def test_the_pool_is_in_our_names_whatever_names_the_other_series_uses() -> None:
    # Both mean the same level: ours is one level off by its own account, the other is sure of it.
    ours = a_chain(2, 0.5, 0.45)
    voted = dict(with_votes(ours, [a_chain(0, 0.9, 0.05)], 0.5).numberings)
    assert voted[1] > 0.75
    assert voted[0] < 0.25


@pytest.mark.parametrize("is_sure", [True, False])
def test_a_series_of_another_place_has_no_vote_and_is_told(is_sure: bool) -> None:
    marks = tuple(Landmark(name, "predicted", (300.0, 0, 0), None, 0.9) for name in LUMBAR11)
    found = a_chain(2, 0.8)
    told = with_votes(found, [LandmarkSet(marks, needs_review=not is_sure)], 0.5)
    assert told.landmarks == found.landmarks
    assert told.numberings == found.numberings
    assert told.needs_review == is_sure
    assert "1 other series of this study place the landmarks elsewhere" in (told.warnings + told.notes)[-1]
    assert bool(told.warnings) == is_sure


@pytest.fixture
def a_study_of_three_series(tmp_path: Path) -> Path:
    """T2 and T1 in one frame of reference, and fat-suppressed slices in another."""
    for number, contrast in enumerate(("T2", "T1", "T2"), 1):
        phantom = make_phantom(5, slices=7, matrix=(160, 160), pixel_mm=2.0, contrast=contrast)
        description = "STIR sag" if number == 3 else None
        write_dicom_series(phantom, tmp_path / "study" / f"{number}", series_number=number, description=description)
    for file in (tmp_path / "study" / "3").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.FrameOfReferenceUID = "1.2.3.4"
        dataset.save_as(file)
    return tmp_path / "study"


def test_every_series_is_read_when_asked_and_votes_in_its_own_frame_alone(a_study_of_three_series: Path) -> None:
    assert read_study(a_study_of_three_series).companions == ()
    assert len(read_study(a_study_of_three_series, every_series=True).companions) == 2
    localizer = Localizer.open("lumbar11")
    _, alone = predict(a_study_of_three_series, localizer)
    _, voted = predict(a_study_of_three_series, localizer, every_series=True)
    assert any("1 other series lie in another frame of reference" in note for note in voted.notes)
    assert any("1 other series of the study were read for the levels; 1 agree" in note for note in voted.notes)
    assert [mark.position_ras_mm for mark in voted] == [mark.position_ras_mm for mark in alone]
    assert dict(voted.numberings)[0] >= dict(alone.numberings)[0]


class Said(Localizer):
    """Says of each stack what it was told to."""

    def __init__(self, of_stacks: dict[str, LandmarkSet]) -> None:
        super().__init__(load_bundle("lumbar11"), None)
        self.of_stacks, self.asked = of_stacks, []

    def localize(self, stack: SagittalStack, *_, **__) -> LandmarkSet:
        self.asked.append(stack.series_uid)
        return self.of_stacks[stack.series_uid]


def a_series(uid: str, value: float, frame: str | None = "1.2") -> SagittalStack:
    tags = {"FrameOfReferenceUID": frame} if frame else {}
    return SagittalStack(np.full((1, 8, 8), value, np.float32), np.eye(4), series_uid=uid, tags=tags)


def test_the_words_about_levels_are_those_after_the_vote() -> None:
    """By itself the chosen series may be one higher (30 %); by three others it is not, or surely one lower."""
    doubt = (
        "Levels are doubtful: L1. Check them before use",
        "All names may be one level higher (30 %): transitional junction?",
    )
    ours = replace(a_chain(2, 0.65, 0.3), needs_review=True, warnings=("Something else", *doubt))
    ours = replace(ours, landmarks=tuple(replace(mark, needs_review=mark.name == "L1") for mark in ours))
    others = [a_series(f"{n}", n) for n in (1, 2, 3)]
    stack = replace(a_series("0", 0), companions=tuple(others))
    agree = Said({"0": ours, **{f"{n}": a_chain(2, 0.98, 0.01) for n in (1, 2, 3)}}).localize_study(stack)
    assert dict(agree.numberings)[1] < 0.1
    assert agree.warnings == ("Something else",)
    assert agree.needs_review  # one series in doubt stays worth a look
    lower = Said({"0": ours, **{f"{n}": a_chain(4, 0.98, 0.01) for n in (1, 2, 3)}}).localize_study(stack)
    (said,) = [text for text in lower.warnings if text.startswith("All names may be")]
    assert (
        said == f"All names may be one level lower ({100 * dict(lower.numberings)[-1]:.0f} %): transitional junction?"
    )
    assert "All names may be one level higher (30 %): transitional junction?" not in lower.warnings


def test_a_copy_has_no_vote_and_a_series_without_a_frame_is_told_so() -> None:
    same, again, other = a_series("1", 0), a_series("2", 5), a_series("3", 5)
    localizer = Said({uid: a_chain(2, 0.8, 0.1) for uid in ("0", "2")})
    voted = localizer.localize_study(replace(a_series("0", 0), companions=(same, again, other)))
    assert localizer.asked == ["0", "2"]
    assert "2 other series are copies, and have no vote of their own" in voted.notes
    told = localizer.localize_study(replace(a_series("0", 0, None), companions=(a_series("2", 5, None),)))
    assert any("1 other series have no frame of reference in common with this one" in note for note in told.notes)
    assert told.numberings == a_chain(2, 0.8, 0.1).numberings


def test_series_of_several_regions_have_no_vote_and_this_is_told(a_study_of_three_series: Path) -> None:
    for number in ("2", "3"):
        for file in (a_study_of_three_series / number).iterdir():
            dataset = pydicom.dcmread(file)
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + 90]
            dataset.save_as(file)
    asked = read_study(a_study_of_three_series, every_series=True)
    assert asked.companions == ()
    assert NO_VOTE in asked.notes
    assert NO_VOTE not in read_study(a_study_of_three_series).notes


def test_the_command_takes_all_series_and_says_who_voted(
    a_study_of_three_series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results"
    asked = ["--series", "all", "--format", "json", "--output", str(output)]
    assert main(["predict", str(a_study_of_three_series), *asked]) == 0
    assert "were read for the levels" in (output / "study.json").read_text()
    said = capsys.readouterr().out
    assert "note: Chosen series" in said
    assert "were read for the levels; 1 agree" in said
    assert "1 other series lie in another frame of reference" in said
