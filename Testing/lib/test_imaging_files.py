"""NIfTI and MGH in, what is no image, and every bad file refused in one line."""

import gzip
import json
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from known_voxels import AFFINE, SHAPE, a_picture, assert_same_places, orthogonal, some_voxels
from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.study import read_study

DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_volumes = pytest.mark.skipif(not (DATA / "volumes").is_dir(), reason=f"no real volumes at {DATA / 'volumes'}")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a", "a.img.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_nifti_keeps_every_voxel_in_its_place(an_oblique_nifti, name, kind):
    stack = read_study(an_oblique_nifti(name, kind=kind))
    assert stack.voxels.shape == (5, 36, 44)
    assert stack.voxels.dtype == np.float32
    assert stack.warnings == ()
    assert_same_places(stack, some_voxels(), orthogonal(AFFINE))


def test_a_gzip_under_the_name_nii_is_read(an_oblique_nifti, tmp_path):
    wrong = tmp_path / "b.nii"
    wrong.write_bytes(an_oblique_nifti("a.nii.gz").read_bytes())
    assert len(read_study(wrong)) == 5


def test_slopes_and_units_of_a_nifti_are_applied(an_oblique_nifti):
    stack = read_study(an_oblique_nifti(scl_slope=2.0, scl_inter=5.0, xyzt_units=3))  # 3: micrometres
    assert stack.voxels.max() == 2 * some_voxels().max() + 5
    assert stack.slice_spacing_mm == pytest.approx(np.linalg.norm(AFFINE[:3, 2]) / 1000)


def test_a_fourth_axis_is_refused_unless_it_has_length_one(an_oblique_nifti):
    assert len(read_study(an_oblique_nifti(voxels=some_voxels()[..., np.newaxis]))) == 5
    with pytest.raises(InputError, match="Expected one 3-D image; got 4-D, 36 x 44 x 5 x 2"):
        read_study(an_oblique_nifti(voxels=np.stack([some_voxels()] * 2, axis=-1)))


def test_a_nifti_without_orientation_is_refused(an_oblique_nifti):
    path = an_oblique_nifti()
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code of the NIfTI-1 header
    path.write_bytes(content)
    with pytest.raises(GeometryError, match="sform_code and qform_code 0"):
        read_study(path)


def test_a_qform_alone_is_enough_and_a_contradiction_is_told(an_oblique_nifti):
    stack = read_study(an_oblique_nifti(sform=0))
    assert_same_places(stack, some_voxels(), orthogonal(AFFINE))
    stack = read_study(an_oblique_nifti(qoffset_x=20.0))  # the affine has 7
    assert "differ by up to 13.0 mm; the sform was used" in stack.warnings[0]


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan])
def test_an_impossible_spacing_in_the_header_is_refused(an_oblique_nifti, spacing):
    with pytest.raises(GeometryError, match="Expected positive voxel spacing"):
        read_study(an_oblique_nifti(pixdim=[1, 1, 1, spacing, 1, 1, 1, 1]))


def test_sheared_axes_are_refused(an_oblique_nifti):
    affine = orthogonal(AFFINE)
    affine[2, 1] += 0.2
    with pytest.raises(GeometryError, match="orthogonal"):
        read_study(an_oblique_nifti(affine=affine, qform=0))


@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 44, 5), (31, 31, 5)])
def test_slices_too_small_are_refused(an_oblique_nifti, shape):
    with pytest.raises(SpineLandmarksError, match=r"pixels a side|Expected a sagittal series"):
        read_study(an_oblique_nifti(voxels=np.zeros(shape, np.int16)))


@pytest.mark.parametrize(
    ("sides", "message"),
    [((20000, 20000, 5), "32 to 8192 pixels a side; got 20000 x 20000 x 5"), ((8000, 8000, 80), "Expected at most")],
)
def test_slices_too_large_are_refused_before_they_are_read(an_oblique_nifti, sides, message):
    path = an_oblique_nifti()
    content = bytearray(path.read_bytes())
    struct.pack_into("<3h", content, 42, *sides)  # dim[1..3] of the NIfTI-1 header
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_study(path)


def test_a_nifti_that_inflates_beyond_its_header_is_refused(an_oblique_nifti, tmp_path):
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(an_oblique_nifti().read_bytes() + bytes(2**22)))
    with pytest.raises(InputError, match="many more"):
        read_study(bomb)


def test_a_wrong_checksum_is_damage(an_oblique_nifti):
    path = an_oblique_nifti("a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_study(path)


@pytest.mark.parametrize("kind", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_not_one_grey_value_are_refused(an_oblique_nifti, kind):
    with pytest.raises(InputError, match="one grey value"):
        read_study(an_oblique_nifti(voxels=np.zeros(SHAPE, kind)))


def test_a_constant_image_is_refused(an_oblique_nifti):
    with pytest.raises(InputError, match="has the value 7 everywhere"):
        read_study(an_oblique_nifti(voxels=np.full(SHAPE, 7, np.int16)))


def test_nan_voxels_become_the_minimum_with_a_warning(an_oblique_nifti):
    voxels = some_voxels().astype(np.float32) + 3
    voxels[4, 5, 2], voxels[6, 7, 1] = np.nan, np.inf
    stack = read_study(an_oblique_nifti(voxels=voxels))
    assert np.isfinite(stack.voxels).all()
    assert stack.voxels.min() == 3
    assert stack.warnings == ("2 voxels without a finite value were set to the minimum",)
    with pytest.raises(InputError, match="not one finite value"):
        read_study(an_oblique_nifti(voxels=np.full(SHAPE, np.nan, np.float32)))


def test_hounsfield_units_are_refused_and_phase_images_are_not(an_oblique_nifti):
    rng = np.random.default_rng(6)
    tissue = rng.normal(50, 30, SHAPE)
    ct = np.where(rng.random(SHAPE) < 0.3, rng.normal(-1000, 10, SHAPE), tissue)
    with pytest.raises(InputError, match="Expected MR; got what looks like CT"):
        read_study(an_oblique_nifti(voxels=ct.astype(np.int16)))
    phase = rng.integers(-4096, 4096, SHAPE)
    assert len(read_study(an_oblique_nifti(voxels=phase.astype(np.int16)))) == 5


def test_thick_slices_and_coarse_pixels_are_doubted(an_oblique_nifti):
    affine = orthogonal(AFFINE)
    affine[:3, 2] *= 3
    affine[:3, 0] *= 3
    stack = read_study(an_oblique_nifti(affine=affine))
    warnings = " ".join(stack.warnings)
    assert stack.needs_review, "one side of the pixels may be stated wrongly"
    assert "11.9 mm apart" in warnings
    assert "far from square" in warnings
    assert "unusual for a lumbar MRI" in warnings


def test_an_mgz_keeps_every_voxel_in_its_place(tmp_path):
    nib.save(nib.MGHImage(some_voxels(), orthogonal(AFFINE)), tmp_path / "a.mgz")
    stack = read_study(tmp_path / "a.mgz")
    assert_same_places(stack, some_voxels(), orthogonal(AFFINE))


def test_spacing_for_an_image_that_has_its_own_is_not_used(an_oblique_nifti):
    stack = read_study(an_oblique_nifti(), spacing_mm=9.0)
    assert stack.pixel_spacing_mm != (9.0, 9.0)
    assert any("carries its own" in warning for warning in stack.warnings)


@pytest.mark.parametrize("content", [b"", b"not an image", b"%PDF-1.7 ", bytes(1000), b"\x1f\x8b", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["a", "a.nii", "a.nii.gz", "a.dcm", "a.mha", "a.nrrd", "a.png", "a.mgz", "a.zip"])
def test_what_is_not_an_image_is_refused_in_one_line(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpineLandmarksError) as caught:
        read_study(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("A [1].HDR", "A [1].IMG"), ("a.hdr.gz", "a.img.gz")])
def test_a_nifti_pair_is_read_by_either_of_its_names(names, tmp_path):
    nib.save(nib.Nifti1Pair(some_voxels(), orthogonal(AFFINE)), tmp_path / "pair.hdr")
    for name in names:
        content = (tmp_path / f"pair.{'hdr' if 'hdr' in name.lower() else 'img'}").read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for name in names:
        assert_same_places(read_study(tmp_path / name), some_voxels(), orthogonal(AFFINE))


def test_half_of_a_pair_is_told_which_half_is_not_there(tmp_path, an_itk_image):
    nib.save(nib.Nifti1Pair(some_voxels(), orthogonal(AFFINE)), tmp_path / "a.hdr")
    (tmp_path / "a.hdr").rename(tmp_path / "only.hdr")
    halves = {"a.img": "header of a.img in an .hdr beside it", "only.hdr": "voxels of only.hdr in an .img beside it"}
    for name, voxels in (("c.mhd", "c.raw"), ("d.nhdr", "d.raw")):
        sitk.WriteImage(an_itk_image, str(tmp_path / name))
        (tmp_path / voxels).unlink()
        halves[name] = f"voxels of {name} in {voxels}, beside it"
    too_long = "r" * 300
    (tmp_path / "e.mhd").write_text((tmp_path / "c.mhd").read_text().replace("c.raw", too_long))
    halves["e.mhd"] = f"voxels of e.mhd in {too_long}, beside it"
    for name, message in halves.items():
        with pytest.raises(InputError, match=f"Expected the {message}; there is no"):
            read_study(tmp_path / name)


def test_a_folder_of_links_is_not_called_empty(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "T2").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match=r"linked holds links to folders alone, which are not followed \(T2\)"):
        read_study(tmp_path / "linked")


def test_missing_empty_and_unreadable_inputs_are_told_apart(tmp_path, an_oblique_nifti, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        read_study(tmp_path / "nothing.nii")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_study(tmp_path / "folder")
    path = an_oblique_nifti()
    with pytest.raises(InputError, match=r"none of its 1 files is a DICOM image \(a.nii\)"):
        read_study(path.rename(tmp_path / "folder" / "a.nii").parent)

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match="the system denies reading"):
        read_study(tmp_path / "folder" / "a.nii")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(InputError, match="is neither"):
        read_study(tmp_path / "pipe.nii")


@pytest.fixture(scope="module")
def one_file_of_each_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    image = nib.Nifti1Image(some_voxels(), orthogonal(AFFINE))
    contents = {"a.nii": image.to_bytes(), "a.nii.gz": gzip.compress(image.to_bytes())}
    contents["a.mgh"] = nib.MGHImage(some_voxels(), orthogonal(AFFINE)).to_bytes()
    itk = sitk.GetImageFromArray(some_voxels())
    for name, compress in (("raw.mha", False), ("packed.mha", True), ("raw.nrrd", False), ("packed.nrrd", True)):
        sitk.WriteImage(itk, str(folder / name), compress)
        contents[name] = (folder / name).read_bytes()
    for name in ("a.png", "a.jpg", "a.tif"):
        Image.fromarray(a_picture()).save(folder / name)
        contents[name] = (folder / name).read_bytes()
    return contents


def test_the_files_to_be_damaged_are_whole(one_file_of_each_kind, tmp_path):
    for name, content in one_file_of_each_kind.items():
        (tmp_path / name).write_bytes(content)
        assert read_study(tmp_path / name).voxels.shape in ((5, 44, 36), (5, 36, 44), (1, 40, 50))


KINDS = ["a.nii", "a.nii.gz", "a.mgh", "raw.mha", "packed.mha", "raw.nrrd", "packed.nrrd", "a.png", "a.jpg", "a.tif"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.98))
def test_a_file_cut_anywhere_is_refused_in_one_line(one_file_of_each_kind, tmp_path, kind, share):
    content = one_file_of_each_kind[kind]
    path = tmp_path / kind
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SpineLandmarksError) as caught:
        read_study(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), early=st.booleans())
def test_a_file_with_a_wrong_byte_gives_an_image_or_one_line(one_file_of_each_kind, tmp_path, kind, place, byte, early):
    content = bytearray(one_file_of_each_kind[kind])
    content[int(place * (min(600, len(content)) if early else len(content)))] = byte
    path = tmp_path / kind
    path.write_bytes(content)
    message = ""
    try:
        assert np.isfinite(read_study(path).voxels).all()
    except SpineLandmarksError as error:
        message = str(error)
    assert "\n" not in message


@needs_volumes
@pytest.mark.parametrize("name", ["VB2_05", "VB2_06", "VB2_07", "VB3_01", "VB3_02", "VB3_03"])
def test_real_volumes_are_upright_with_their_bodies_inside(name):
    stack = read_study(DATA / "volumes" / f"{name}.nii.gz")
    centres = json.loads((DATA / "volumes" / f"{name}.json").read_text())["body_centres_ras_mm"]
    ijk = apply(np.linalg.inv(stack.ras_from_ijk), [centres[level] for level in ("L1", "L2", "L3", "L4", "L5")])
    count, height, width = stack.voxels.shape
    assert ((ijk >= 0) & (ijk <= [width - 1, height - 1, count - 1])).all()
    assert (np.diff(ijk[:, 1]) > 20).all()  # each body lies more than 2 cm below the one before
    native = nib.load(DATA / "volumes" / f"{name}.nii.gz")
    np.testing.assert_array_equal(stack.voxels[38], np.asarray(native.dataobj)[:, :, 38])
