import json

from monai.bundle import ConfigParser

from SpineLandmarksLib.predict import Localizer


def test_monai_builds_a_localizer_from_the_bundle_folder(a_small_bundle):
    parser = ConfigParser()
    parser.read_config(str(a_small_bundle.folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(a_small_bundle.folder)
    localizer = parser.get_parsed_content("localizer")
    assert isinstance(localizer, Localizer)
    assert localizer.bundle.label == a_small_bundle.label


def test_the_metadata_has_what_monai_asks_of_a_bundle(a_small_bundle):
    metadata = json.loads((a_small_bundle.folder / "configs" / "metadata.json").read_text())
    asked = "version monai_version pytorch_version numpy_version task description copyright network_data_format"
    assert set(asked.split()) <= set(metadata)
