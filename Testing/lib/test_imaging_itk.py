"""NRRD and MetaImage in, as ITK writes them and in every packing and split."""

import bz2
import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from known_voxels import AFFINE, assert_same_places, orthogonal, some_voxels
from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.imaging.study import read_study


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


@pytest.mark.parametrize(
    "place", ["{}/other.raw", "../other.raw", "s/../../other.raw", "C:\\other.raw", "..\\other.raw"]
)
@pytest.mark.parametrize("is_list", [False, True])
def test_voxels_of_a_file_elsewhere_are_not_read(an_itk_image, tmp_path, place, is_list):
    """Whoever sends a header would see what only we may read."""
    folder = tmp_path / "sent"
    folder.mkdir()
    sitk.WriteImage(an_itk_image, str(folder / "a.mhd"))
    (folder / "a.raw").rename(tmp_path / "other.raw")
    named = place.format(tmp_path)
    header = (folder / "a.mhd").read_text()
    (folder / "a.mhd").write_text(header.replace("a.raw", f"LIST\n{named}" if is_list else named))
    with pytest.raises(InputError, match="beside it; it names a file elsewhere"):
        read_study(folder / "a.mhd")
    (folder / "b.nhdr").write_bytes(an_nrrd(tmp_path / "b.nhdr", b"", last=f"data file: {named}").read_bytes())
    with pytest.raises(InputError, match="beside it; it names a file elsewhere"):
        read_study(folder / "b.nhdr")


@pytest.mark.parametrize("name", ["a.mnc", "a.h5"])
def test_nothing_is_said_past_us_of_a_damaged_minc_or_hdf5(an_itk_image, tmp_path, capfd, name):
    sitk.WriteImage(an_itk_image, str(tmp_path / name))
    content = (tmp_path / name).read_bytes()
    for kept in (10, 600, 9000, len(content) - 100):
        (tmp_path / name).write_bytes(content[:kept])
        with pytest.raises(InputError):
            read_study(tmp_path / name)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("units", ["cm", "um"])
def test_a_metaimage_in_other_units_is_refused(an_itk_image, tmp_path, units):
    path = tmp_path / "a.mha"
    sitk.WriteImage(an_itk_image, str(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"NDims", b"DistanceUnits = mm\nNDims", 1))
    assert_same_places(read_study(path), some_voxels(), orthogonal(AFFINE))
    path.write_bytes(content.replace(b"NDims", f"DistanceUnits = {units}\nNDims".encode(), 1))
    with pytest.raises(GeometryError, match="distance units of mm"):
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
