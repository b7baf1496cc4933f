"""An empty data set over TLS: the name is asked, and a study comes in through the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from playwright.sync_api import expect

from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.store.folder import init_dataset, open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("own") / "dataset"
    init_dataset(made).close()
    return made


@pytest.fixture(scope="module")
def page(
    folder: Path, start_reviewer: Callable[..., Any], browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    pem = tmp_path_factory.mktemp("tls")
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(pem / "chain.pem")
    certificate.private_key_pem.write_to_path(pem / "key.pem")
    reviewer = start_reviewer(
        str(folder),
        "--host",
        "0.0.0.0",
        "--tls-cert",
        str(pem / "chain.pem"),
        "--tls-key",
        str(pem / "key.pem"),
        "--max-upload",
        "4",
    )
    assert reviewer.address.startswith("https://localhost:")
    opened = browser.new_page(viewport={"width": 1500, "height": 900}, ignore_https_errors=True)
    opened.goto(reviewer.address)
    yield opened
    opened.close()


def test_a_name_is_asked_before_anything_else(page: Any, shots: Path) -> None:
    name = page.locator(".name-field input")
    name.wait_for()
    page.screenshot(path=shots / "20-name.png")
    assert page.locator(".begin").is_disabled()
    name.fill("A. Reader")
    name.focus()
    page.keyboard.down("Enter")
    page.evaluate("document.activeElement.blur()")  # a press is one, wherever the focus is when it ends
    page.keyboard.up("Enter")
    expect(page.locator(".person .who")).to_have_text("A. Reader")
    expect(page.locator(".studies")).to_contain_text("No studies yet")


def test_what_is_no_study_is_refused_in_words(page: Any, folder: Path, tmp_path: Path, shots: Path) -> None:
    (tmp_path / "large.nii").write_bytes(b"\x5c\x01\0\0" + bytes(5 * 2**20))
    (tmp_path / "other.zip").write_bytes(b"no zip")
    for name, words in (("large.nii", "at most 4 MiB"), ("other.zip", "something else, whatever its name says")):
        page.locator(".upload input").set_input_files(tmp_path / name)
        expect(page.locator(".notification.error").last).to_contain_text(words)
    page.screenshot(path=shots / "21-refused.png")
    assert not list(folder.glob("uploads/*"))


def test_an_uploaded_study_opens_without_the_name_of_its_file(
    page: Any, folder: Path, a_phantom: Phantom, tmp_path: Path, shots: Path
) -> None:
    page.locator(".upload input").set_input_files(write_nifti(a_phantom, tmp_path / "Doe^Jane.nii.gz"))
    expect(page.locator(".study.current .key")).to_contain_text("upload-")
    page.screenshot(path=shots / "22-uploaded.png")
    store = open_dataset(folder, read_only=True)
    (study,) = store.studies()
    assert (store.assignments()[study.key], study.size_wh) == ("A. Reader", (80, 96))
    store.close()
    assert "Doe" not in page.content() + page.url + page.title()
