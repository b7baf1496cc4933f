"""NIfTI, MGH, NRRD, MetaImage and pictures in; every bad one refused in one line."""

import bz2
import gzip
import io
import json
import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging import picture
from SpineLandmarksLib.imaging.study import read_study

DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_volumes = pytest.mark.skipif(not (DATA / "volumes").is_dir(), reason=f"no real volumes at {DATA / 'volumes'}")

SHAPE = (36, 44, 5)  # i (foot-head), j (back-front), k (left-right)
AFFINE = np.array([[0, 0.1, 3.98, 7], [0.1, 0.79, 0, 8], [0.69, -0.1, 0, 9], [0, 0, 0, 1.0]])


def some_voxels():
    return np.random.default_rng(5).integers(0, 900, SHAPE).astype(np.int16)


def orthogonal(affine):
    """The nearest matrix with the same spacing and right angles."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    result = affine.copy()
    result[:3, :3] = u @ v * spacing
    return result


@pytest.fixture
def an_oblique_nifti(tmp_path):
    """Write a NIfTI; keyword arguments change voxels, affine, codes or header fields."""

    def write(name="a.nii", voxels=None, affine=None, sform=1, qform=1, kind=nib.Nifti1Image, **fields):
        affine = orthogonal(AFFINE) if affine is None else affine
        image = kind(some_voxels() if voxels is None else voxels, affine)
        image.set_sform(affine, sform, update_affine=False)
        image.set_qform(affine, qform, update_affine=False)
        for key, value in fields.items():
            image.header[key] = value
        path = tmp_path / name
        content = image.to_bytes()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def assert_same_places(stack, voxels, ras_from_ijk):
    """A few voxels of the file lie at the same RAS in the stack."""
    for index in ((1, 2, 3), (30, 40, 0), (17, 0, 4)):
        value = voxels[index]
        places = [apply(stack.ras_from_ijk, kji[::-1]) for kji in np.argwhere(stack.voxels == value)]
        assert min(np.linalg.norm(place - apply(ras_from_ijk, index)) for place in places) < 1e-3


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
    warnings = " ".join(read_study(an_oblique_nifti(affine=affine)).warnings)
    assert "11.9 mm apart" in warnings
    assert "far from square" in warnings
    assert "unusual for a lumbar MRI" in warnings


@pytest.fixture
def an_itk_image():
    """The same voxels for SimpleITK, whose frame is LPS."""
    image = sitk.GetImageFromArray(some_voxels().transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1.0]) @ orthogonal(AFFINE)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_an_itk_format_keeps_every_voxel_in_its_place(an_itk_image, tmp_path, name):
    sitk.WriteImage(an_itk_image, str(tmp_path / name), name.endswith("d"))
    stack = read_study(tmp_path / name)
    assert stack.voxels.shape == (5, 36, 44)
    assert_same_places(stack, some_voxels(), orthogonal(AFFINE))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_nrrd_and_metaimage_are_read_as_itk_writes_and_reads_them(an_itk_image, tmp_path, name, kind, packed):
    values = (some_voxels().transpose(2, 1, 0) % 100).astype(kind)
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(an_itk_image)
    sitk.WriteImage(image, str(tmp_path / name), packed)
    assert_same_places(read_study(tmp_path / name), values.transpose(2, 1, 0), orthogonal(AFFINE))


#: Of the axes i, j, k in LPS mm.
NRRD = """NRRD0005
# {comment}
type: {type}
dimension: {dimension}
space: {space}
sizes: {sizes}
space directions: {directions}
kinds: domain
endian: {endian}
encoding: {encoding}
space origin: (1,2,3)
key:=a value: with = signs
{last}
"""


def an_nrrd(path, data, **fields):
    plain = {"comment": "x", "type": "short", "dimension": 3, "space": "LPS", "endian": "big", "encoding": "raw"}
    plain |= {"sizes": "5 44 36", "directions": "(4,0,0) (0,0,-0.8) (0,0.7,0)", "last": ""}
    path.write_bytes(NRRD.format(**{**plain, **fields}).replace("kinds: domain\n", "").encode() + data)
    return path


def test_every_packing_and_split_of_an_nrrd_gives_the_same_voxels(tmp_path):
    values = np.arange(36 * 44 * 5, dtype=">i2").reshape(36, 44, 5)  # k, j, i of the file
    raw, text = values.tobytes(), " ".join(map(str, values.ravel())).encode()
    for number in range(36):
        (tmp_path / f"s{number:02d}.raw").write_bytes(raw[number * 440 :][:440])
    (tmp_path / "all.raw").write_bytes(b"some other header" + raw)
    names = "\n".join(f"s{number:02d}.raw" for number in range(36))
    paths = [
        an_nrrd(tmp_path / "raw.nrrd", raw),
        an_nrrd(tmp_path / "gzip.nrrd", gzip.compress(raw), encoding="gzip"),
        an_nrrd(tmp_path / "pieces.nrrd", gzip.compress(raw[:999]) + gzip.compress(raw[999:]), encoding="gzip"),
        an_nrrd(tmp_path / "bzip2.nrrd", bz2.compress(raw), encoding="bz2"),
        an_nrrd(tmp_path / "text.nrrd", text, encoding="ASCII"),
        an_nrrd(tmp_path / "units.nrrd", raw, last='space units: "mm" "" "mm"\n'),
        an_nrrd(tmp_path / "little.nrrd", values.astype("<i2").tobytes(), endian="little"),
        an_nrrd(tmp_path / "ras.nrrd", raw, space="RAS", directions="(-4,0,0) (0,0,-0.8) (0,-0.7,0)"),
        an_nrrd(
            tmp_path / "four.nrrd", raw, dimension=4, sizes="1 5 44 36", directions="none (4,0,0) (0,0,-0.8) (0,0.7,0)"
        ),
        an_nrrd(tmp_path / "beside.nhdr", b"", last="byte skip: -1\ndata file: all.raw"),
        an_nrrd(tmp_path / "skip.nhdr", b"", last="byte skip: 17\ndatafile: all.raw"),
        an_nrrd(tmp_path / "list.nhdr", names.encode(), last="data file: LIST"),
        an_nrrd(tmp_path / "pattern.nhdr", b"", last="data file: s%02d.raw 0 35 1"),
    ]
    expected = read_study(paths[0])
    assert expected.voxels.shape == (5, 44, 36)
    assert expected.pixel_spacing_mm == pytest.approx((0.7, 0.8))
    for path in paths[1:]:
        found = read_study(path)
        assert np.array_equal(found.voxels, expected.voxels), path.name
        assert path.name == "ras.nrrd" or found.ras_from_ijk == pytest.approx(expected.ras_from_ijk)


def test_numbers_as_text_that_their_type_does_not_hold_are_refused(tmp_path):
    text = b" ".join([b"70000"] + [b"1"] * (36 * 44 * 5 - 1))
    with pytest.raises(InputError, match="Expected values that"):
        read_study(an_nrrd(tmp_path / "text.nrrd", text, encoding="text"))


def test_every_split_of_a_metaimage_gives_the_same_voxels(an_itk_image, tmp_path):
    sitk.WriteImage(an_itk_image, str(tmp_path / "a.mhd"))
    raw = (tmp_path / "a.raw").read_bytes()
    for number in range(5):
        (tmp_path / f"s{number}.raw").write_bytes(raw[number * len(raw) // 5 :][: len(raw) // 5])
    (tmp_path / "headed.raw").write_bytes(b"some header" + raw)
    (tmp_path / "packed.raw").write_bytes(zlib.compress(raw))
    text = (tmp_path / "a.mhd").read_text()
    for changed in (
        text.replace("a.raw", "LIST\n" + "\n".join(f"s{number}.raw" for number in range(5))),
        text.replace("a.raw", "s%d.raw 0 4 1"),
        text.replace("a.raw", "headed.raw").replace("NDims", "HeaderSize = -1\nNDims"),
        text.replace("a.raw", "headed.raw").replace("NDims", "HeaderSize = 11\nNDims"),
        text.replace("a.raw", "packed.raw").replace("CompressedData = False", "CompressedData = True"),
    ):
        (tmp_path / "b.mhd").write_text(changed)
        assert_same_places(read_study(tmp_path / "b.mhd"), some_voxels(), orthogonal(AFFINE))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_damage_of_packed_voxels_is_refused_and_not_shown_as_noise(an_itk_image, tmp_path, name):
    """ITK hands out what it has unpacked until then."""
    sitk.WriteImage(an_itk_image, str(tmp_path / name), True)
    content = bytearray((tmp_path / name).read_bytes())
    for place in (-1, -3000):
        damaged = content.copy()
        damaged[place] ^= 0x55
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            read_study(tmp_path / name)


def test_an_mgz_keeps_every_voxel_in_its_place(tmp_path):
    nib.save(nib.MGHImage(some_voxels(), orthogonal(AFFINE)), tmp_path / "a.mgz")
    stack = read_study(tmp_path / "a.mgz")
    assert_same_places(stack, some_voxels(), orthogonal(AFFINE))


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("TransformMatrix", "", "states none"),
        ("ElementSpacing", "", r"spacing \(ElementSpacing\); the header of a.mhd states none"),
        ("ElementSpacing", "ElementSpacing = 0 1 4", "Expected"),
        ("ElementSpacing", "ElementSpacing = -0.7 0.8 4", "positive voxel spacing"),
        ("ElementSpacing", "ElementSpacing = nan 0.8 4", "positive voxel spacing"),
        ("TransformMatrix", "TransformMatrix = 1 0 0 0 1 0 0 1 0", "Expected"),
        ("DimSize", "DimSize = 20000 20000 5", "8192"),
        ("DimSize", "DimSize = 36 44 50", "damaged"),
    ],
)
def test_a_metaimage_with_a_bad_header_is_refused(an_itk_image, tmp_path, line, instead, message):
    path = tmp_path / "a.mhd"
    sitk.WriteImage(an_itk_image, str(path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join(filter(None, (instead if one.startswith(line) else one for one in lines))) + "\n")
    with pytest.raises(SpineLandmarksError, match=message):
        read_study(path)


#: The first six end the process within ITK: more axes or values than its buffers hold. The others are of their kind.
DEADLY = [
    ("a.mha", "NDims = ", "8192"),
    ("a.mha", "NDims = ", "1e5"),
    ("a.mha", "NDims = ", "3\nNDims = 65536"),
    ("a.mha", "NDims = ", "3\n NDims : 65536"),
    ("a.nrrd", "space directions: ", "(1.23456789012345678,2,3) " + "(0.48401288870322468,-0.612237137788209 " * 50),
    ("a.nrrd", "space directions: ", "(1.23456789012345678,2,3) (" + "0.61223713778820943," * 200 + "1)"),
    ("a.mha", "TransformMatrix = ", "1 " * 400),
    ("a.nrrd", "dimension: ", "30"),
    ("a.nrrd", "space directions: ", "(1,0,0) " * 60),
    ("a.nrrd", "space origin: ", "(0,0,0" + ",0" * 300 + ")"),
    ("a.nrrd", "sizes: ", "44 " * 300),
]


@pytest.mark.parametrize(("name", "field", "value"), DEADLY)
def test_a_header_that_would_end_the_process_within_itk_is_refused(an_itk_image, tmp_path, name, field, value):
    path = tmp_path / name
    sitk.WriteImage(an_itk_image, str(path))
    start, rest = path.read_bytes().split(field.encode(), 1)
    path.write_bytes(start + field.encode() + value.encode() + rest[rest.index(b"\n") :])
    with pytest.raises(InputError, match="Expected a whole header"):
        read_study(path)


def test_a_header_without_end_is_refused(an_itk_image, tmp_path):
    sitk.WriteImage(an_itk_image, str(tmp_path / "a.nrrd"))
    start, rest = (tmp_path / "a.nrrd").read_bytes().split(b"\n\n", 1)
    (tmp_path / "a.nrrd").write_bytes(start + b"\n# x" * 2**15 + b"\nsizes: 1 1 1\n\n" + rest)
    with pytest.raises(InputError, match="a header of at most 65536 bytes"):
        read_study(tmp_path / "a.nrrd")


def test_a_damaged_picture_writes_nothing_to_stdout(tmp_path, capfd):
    Image.fromarray(a_picture()).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\x00" + bytes(18) + content[3:])
    with pytest.raises(InputError, match=r"a\.jpg is damaged or not one"):
        read_study(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


def test_an_nrrd_without_space_is_refused(an_itk_image, tmp_path):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(an_itk_image, str(path))
    head, _, body = path.read_bytes().partition(b"\n\n")
    kept = [one for one in head.split(b"\n") if not one.startswith(b"space")]
    path.write_bytes(b"\n".join(kept) + b"\n\n" + body)
    with pytest.raises(GeometryError, match="states none"):
        read_study(path)


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("space:", "space: 3D-right-handed", "a space of the patient.* states none"),
        ("space:", "space: scanner-xyz", "a space of the patient.* states none"),
        ("space:", "space dimension: 3", "a space of the patient.* states none"),
        ("space directions:", "", "space directions.* states none"),
        ("space directions:", "spacings: 0.7 0.8 4", "space directions.* states none"),
        ("space origin:", 'space units: "m" "m" "m"', "units of mm"),
    ],
)
def test_an_nrrd_that_does_not_say_how_it_lies_in_the_patient_is_refused(
    an_itk_image, tmp_path, line, instead, message
):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(an_itk_image, str(path))
    head, _, body = path.read_bytes().partition(b"\n\n")
    lines = [instead if one.startswith(line) else one for one in head.decode().split("\n")]
    path.write_bytes("\n".join(filter(None, lines)).encode() + b"\n\n" + body)
    with pytest.raises(GeometryError, match=message):
        read_study(path)


@pytest.mark.parametrize(("name", "line"), [("a.nrrd", b"space origin:"), ("a.mha", b"Offset =")])
def test_an_origin_that_is_not_stated_is_told(an_itk_image, tmp_path, name, line):
    path = tmp_path / name
    sitk.WriteImage(an_itk_image, str(path))
    lines = path.read_bytes().split(b"\n", 20)
    path.write_bytes(b"\n".join(one for one in lines if not one.startswith(line)))
    stack = read_study(path)
    assert stack.warnings == (f"{name} states no origin: positions in mm count from its first voxel",)


@pytest.mark.parametrize("space", ["LPS", "left-posterior-superior", "RAS", "Right-Anterior-Superior"])
def test_every_spelling_of_a_space_of_the_patient_is_read(an_itk_image, tmp_path, space):
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(an_itk_image, str(path))
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    turn = np.diag([-1, -1, 1, 1.0]) if space[0] in "rR" else np.eye(4)
    assert_same_places(read_study(path), some_voxels(), turn @ orthogonal(AFFINE))


def test_a_format_without_orientation_and_several_channels_are_refused(an_itk_image, tmp_path):
    sitk.WriteImage(an_itk_image, str(tmp_path / "a.vtk"))
    with pytest.raises(GeometryError, match="format with orientation"):
        read_study(tmp_path / "a.vtk")
    sitk.WriteImage(sitk.Compose(an_itk_image, an_itk_image), str(tmp_path / "two.mha"))
    with pytest.raises(InputError, match="one grey value per voxel; got 2"):
        read_study(tmp_path / "two.mha")


def a_picture():
    return np.random.default_rng(7).integers(0, 255, (40, 50), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a_without_extension"])
def test_a_picture_has_our_own_frame(tmp_path, name):
    Image.fromarray(a_picture()).save(tmp_path / name, format=None if "." in name else "PNG")
    stack = read_study(tmp_path / name, spacing_mm=(0.5, 0.8))
    np.testing.assert_array_equal(stack.voxels[0], a_picture())
    assert not stack.has_patient_frame
    assert stack.pixel_spacing_mm == (0.5, 0.8)
    # column 10 lies 5 mm behind, row 20 lies 16 mm below pixel (0, 0)
    np.testing.assert_allclose(stack.to_ras(0, np.array([[10.0, 20.0]])), [[0, -5, -16]])


def test_a_picture_without_spacing_has_no_millimetres(tmp_path):
    Image.fromarray(a_picture()).save(tmp_path / "a.png")
    stack = read_study(tmp_path / "a.png")
    assert stack.ras_from_ijk is None
    assert any("spacing of a picture is unknown" in warning for warning in stack.warnings)


def a_packed_tiff(compression):
    with io.BytesIO() as stream:
        Image.fromarray(np.add.outer(np.arange(90), np.arange(80)).astype(np.uint16) * 200).save(
            stream, "TIFF", compression=compression
        )
        return bytearray(stream.getvalue())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_tiff_is_refused_in_one_line_and_libtiff_says_nothing(tmp_path, capfd, compression):
    content = a_packed_tiff(compression)
    content[200:400] = b"\xff" * 200
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_study(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_damage_that_libtiff_reports_is_told_and_is_for_review(tmp_path, capfd, monkeypatch):
    """A library that goes on after an error, as libtiff does with some strips."""
    (tmp_path / "a.tif").write_bytes(a_packed_tiff("tiff_lzw"))
    lines = b"a.tif: Warning, unknown field.\nLZWDecode: Not enough data at scanline 7.\nspine-landmarks: x\n"
    grey = picture._grey
    monkeypatch.setattr(picture, "_grey", lambda image: grey(image) if os.write(2, lines) else None)
    stack = read_study(tmp_path / "a.tif")
    assert "LZWDecode: Not enough data at scanline 7" in stack.warnings[0]
    assert stack.needs_review
    assert capfd.readouterr().err == "spine-landmarks: x\n"


def as_tiff(pixels, white_is_zero, kind):
    """An uncompressed little-endian TIFF of one strip. kind: SampleFormat, 1 unsigned, 3 float."""
    rows, columns = pixels.shape
    photometric = 0 if white_is_zero else 1
    tags = [(256, columns), (257, rows), (258, 8 * pixels.itemsize), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, rows), (279, pixels.nbytes), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes() + directory


@pytest.mark.parametrize(("dtype", "kind"), [("u1", 1), ("<u2", 1), ("<f4", 3)])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, dtype, kind):
    values = (a_picture().astype(float) * (1 if dtype == "u1" else 100)).astype(dtype)
    top = {"u1": 255, "<u2": 65535}.get(dtype, values.max())
    for name, pixels in (("black", values), ("white", (top - values).astype(dtype))):
        (tmp_path / f"{name}.tif").write_bytes(as_tiff(pixels, name == "white", kind))
    black, white = (read_study(tmp_path / f"{name}.tif").voxels for name in ("black", "white"))
    np.testing.assert_array_equal(black, white)


def test_sixteen_bit_and_float_pictures_keep_their_values(tmp_path):
    deep = a_picture().astype(np.uint16) * 250
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_study(tmp_path / "a.png").voxels[0], deep)
    Image.fromarray(a_picture() / np.float32(3)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_study(tmp_path / "a.tif").voxels[0], a_picture() / np.float32(3))


def test_colour_becomes_grey_with_a_warning_only_where_channels_differ(tmp_path):
    grey = np.repeat(a_picture()[..., np.newaxis], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    stack = read_study(tmp_path / "grey.png")
    np.testing.assert_array_equal(stack.voxels[0], a_picture())
    assert not any("colour" in warning for warning in stack.warnings)
    grey[0, 0] = 100, 200, 50  # 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 153
    Image.fromarray(grey).save(tmp_path / "colour.png")
    stack = read_study(tmp_path / "colour.png")
    assert stack.voxels[0, 0, 0] == pytest.approx(153)
    assert any("colour" in warning for warning in stack.warnings)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(a_picture()).convert("P")
    image.putpalette([255 - n // 3 for n in range(768)])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_study(tmp_path / "a.png").voxels[0], 255 - a_picture().astype(int))


def test_pictures_with_pages_or_of_a_wrong_size_are_refused(tmp_path, monkeypatch):
    pages = [Image.fromarray(a_picture()) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="got 3 pages"):
        read_study(tmp_path / "a.tif")
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="32 to 8192 pixels a side; got 1 x 1"):
        read_study(tmp_path / "a.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="8192 pixels a side"):
        read_study(tmp_path / "a.png")


@pytest.mark.parametrize("spacing", [0.0, -0.5, np.nan, np.inf, (0.5, 0.0)])
def test_an_impossible_spacing_for_a_picture_is_refused(tmp_path, spacing):
    Image.fromarray(a_picture()).save(tmp_path / "a.png")
    with pytest.raises(GeometryError, match="positive pixel spacing"):
        read_study(tmp_path / "a.png", spacing_mm=spacing)


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
