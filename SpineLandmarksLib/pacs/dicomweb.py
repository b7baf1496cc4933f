"""A PACS that talks DICOMweb: studies by QIDO-RS and WADO-RS, results by STOW-RS.

Certificates are verified, against the system's and those that REQUESTS_CA_BUNDLE names. Credentials come from the
environment or a prompt, and go over TLS only, or to this computer. What the PACS has already is not sent to it again.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from SpineLandmarksLib.arguments import is_loopback
from SpineLandmarksLib.errors import InputError, OutputError, SpineLandmarksError
from SpineLandmarksLib.imaging.unzip import MAX_INFLATED_BYTES, MAX_MEMBERS, scratch
from SpineLandmarksLib.imaging.volume import one_line

if TYPE_CHECKING:
    from dicomweb_client.web import DICOMwebClient
    from requests import Session

#: Where credentials come from.
TOKEN, USER, PASSWORD = (f"SPINE_LANDMARKS_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))
#: Seconds to connect in, and without a byte.
TIMEOUT_S = (10.0, 60.0)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SERIES, _MODALITY, _INSTANCE = "0020000E", "00080060", "00080018"


class DicomWeb:
    """A server at a URL. user: whose password is asked for where the environment has none. For any number of threads.

    Raises InputError for a URL that is none, that holds a password, or that would take credentials in clear text.
    """

    def __init__(self, url: str, user: str = "", timeout_s: tuple[float, float] = TIMEOUT_S) -> None:
        self.url = _checked_url(url)
        self._login, self._timeout_s = _Login.of(self.url, user), timeout_s

    @contextmanager
    def study(self, study_uid: str) -> Iterator[Path]:
        """A folder, named as the study, with its MR images; it goes at the end of the block.

        Raises InputError: no such study, nothing of MR in it, it changed while it was read, or what the server answers.
        """
        if not _UID.fullmatch(study_uid) or len(study_uid) > 64:
            raise InputError(f"Expected a StudyInstanceUID, digits and dots; got {study_uid!r}")
        with scratch() as parent:
            folder = parent / study_uid
            folder.mkdir()
            with self._connected(InputError, f"study {study_uid}") as connection:
                connection.fetch(study_uid, folder)
            yield folder

    def store(self, files: Sequence[Path]) -> int:
        """Send DICOM files of one study; how many were not there yet. Raises OutputError: what the server answers."""
        import pydicom

        datasets = [pydicom.dcmread(file) for file in files]
        with self._connected(OutputError, ", ".join(file.name for file in files)) as connection:
            there = connection.there(str(datasets[0].StudyInstanceUID))
            new = [dataset for dataset in datasets if str(dataset.SOPInstanceUID) not in there]
            if new:
                connection.send(new)
        return len(new)

    @contextmanager
    def _connected(self, kind: type[SpineLandmarksError], what: str) -> Iterator[_Connection]:
        """For one thread. kind: raised for whatever goes wrong, which `what` is told of."""
        with self._login.session() as session, _asking(self.url, kind, what):
            yield _Connection(self.url, _client(self.url, session, self._timeout_s))


@dataclass(frozen=True)
class _Connection:
    url: str
    client: DICOMwebClient

    def fetch(self, study_uid: str, folder: Path) -> None:
        series = self._mr_series(study_uid)
        for number, (series_uid, instances) in enumerate(sorted(series.items())):
            got = self._fetch_series(study_uid, series_uid, folder, f"{number:03d}")
            if got != instances:
                raise InputError(
                    f"Expected {len(instances)} images of a series of study {study_uid}; {self.url} sent "
                    f"{len(got)}. Either the transfer broke off or the study changed meanwhile. Try again"
                )
        if self._mr_series(study_uid) != series:
            raise InputError(f"Expected study {study_uid} to stay as it is; it changed while it was read")

    def _fetch_series(self, study_uid: str, series_uid: str, folder: Path, stem: str) -> set[str]:
        """The instances that came."""
        got: set[str] = set()
        before = [file.stat().st_size for file in folder.iterdir()]
        size = sum(before)
        for dataset in self.client.iter_series(study_uid, series_uid, media_types=_AS_STORED):
            got.add(str(dataset.SOPInstanceUID))
            file = folder / f"{stem}-{len(got):05d}.dcm"
            dataset.save_as(file)
            size += file.stat().st_size
            _require_size(size, len(before) + len(got))
        return got

    def _mr_series(self, study_uid: str) -> dict[str, set[str]]:
        """Instances of each MR series."""
        found = _all_of(partial(self.client.search_for_series, study_uid), _SERIES)
        series = [one[_SERIES] for one in found if one.get(_MODALITY) == "MR"]
        if not series:
            kinds = ", ".join(sorted({one.get(_MODALITY, "unknown") for one in found})) or "none"
            raise InputError(f"Expected a study with MR series at {self.url}; {study_uid} has series of: {kinds}")
        return {uid: self._instances(study_uid, uid) for uid in series}

    def _instances(self, study_uid: str, series_uid: str | None = None) -> set[str]:
        found = _all_of(partial(self.client.search_for_instances, study_uid, series_uid), _INSTANCE)
        return {one[_INSTANCE] for one in found}

    def send(self, datasets: Sequence[Any]) -> None:
        _require_stored(self.client.store_instances(datasets), datasets, self.url)

    def there(self, study_uid: str) -> set[str]:
        """Instances of a study that the server has; none of one that it does not know."""
        from requests import HTTPError

        try:
            return self._instances(study_uid)
        except HTTPError as error:
            if error.response.status_code == 404:
                return set()
            raise


#: In the transfer syntax that the server keeps.
_AS_STORED = (("application/dicom", "*"),)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"Expected an address such as https://pacs.example/dicom-web; got {url!r}")
    if parts.username or parts.password or parts.query:
        raise InputError(f"Expected an address without names or keys in it; set {TOKEN}, or {USER} and {PASSWORD}")
    return url.rstrip("/")


@dataclass(frozen=True)
class _Login:
    """Credentials of the environment, or those that are asked for, once."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)

    @staticmethod
    def of(url: str, user: str) -> _Login:
        token, user = os.environ.get(TOKEN, ""), user or os.environ.get(USER, "")
        parts = urlsplit(url)
        if (token or user) and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise InputError(f"Expected https for an address that credentials are sent to; got {url}")
        return _Login(token) if token or not user else _Login(user=user, password=_password(user))

    def session(self) -> Session:
        """To be closed."""
        from requests import Session

        session = Session()
        session.auth = (self.user, self.password) if self.user else self._sign
        return session

    def _sign(self, request: Any) -> Any:
        """The token, if there is one; that this is said at all keeps requests from what a `.netrc` says."""
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def _password(user: str) -> str:
    password = os.environ.get(PASSWORD, "")
    if password or not sys.stdin.isatty():
        return password
    return getpass.getpass(f"Password of {user}: ")


def _client(url: str, session: Session, timeout_s: tuple[float, float]) -> DICOMwebClient:
    from dicomweb_client.web import DICOMwebClient

    client = DICOMwebClient(url, session, timeout=timeout_s)
    client.set_http_retry_params(retry=False)  # a body that is sent in pieces would be empty the second time
    return client


@contextmanager
def _asking(url: str, kind: type[SpineLandmarksError], what: str) -> Iterator[None]:
    """Turn whatever goes wrong between here and the server into one line."""
    from requests import HTTPError, RequestException
    from requests.exceptions import InvalidJSONError, SSLError, Timeout

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SpineLandmarksError:
        raise
    except HTTPError as error:
        raise kind(f"{url}, {what}: {_answer(error.response)}") from error
    except SSLError as error:
        raise kind(
            f"Expected a certificate that fits {url}; {_reason(error)}. Nothing was sent. REQUESTS_CA_BUNDLE names the "
            "certificates of an authority of one's own"
        ) from error
    except Timeout as error:
        raise kind(f"{url}, {what}: expected an answer within {TIMEOUT_S[1]:.0f} s; none came. Try again") from error
    except InvalidJSONError as error:
        raise kind(f"{url}, {what}: expected an answer of DICOMweb; got what is no JSON") from error
    except RequestException as error:
        raise kind(f"{url}, {what}: the connection failed or broke off ({_reason(error)}). Try again") from error
    except Exception as error:  # what parsers raise on an answer that is none
        raise kind(f"{url}, {what}: expected an answer of DICOMweb; got {_reason(error)}") from error


def _answer(response: Any) -> str:
    status = response.status_code
    said = {
        401: f"it does not let us in (401). Set {TOKEN}, or {USER} and {PASSWORD}",
        403: "it does not allow this (403)",
        404: "it knows no such study, or is no DICOMweb (404)",
        409: f"it refuses to keep it (409). {_failures(response)}",
        413: "it finds it too large (413)",
    }
    return said.get(status, f"it failed ({status} {response.reason}). Try again later")


def _failures(response: Any) -> str:
    """The codes of PS3.18 that a server gives for what it does not keep."""
    codes = re.findall(r'"00081197"[^}]*?\[\s*(\d+)', response.text[:100_000])
    return f"Its reasons: {', '.join(f'{int(code):#06x}' for code in codes)}" if codes else "It gives no reason"


def _reason(error: Exception) -> str:
    """The innermost cause, which names what happened; without the address and the library's words around it."""
    found = re.search(r"certificate verify failed: ([^(]+)|NewConnectionError\([^)]*\): ([^')]+)", str(error))
    return one_line(next(filter(None, found.groups())) if found else error).rstrip(".\"' ")


def _all_of(search: Callable[..., list[dict[str, Any]]], key: str) -> list[dict[str, str]]:
    """What a search finds, however few a server gives at once; one that always gives the same is asked twice."""
    found: dict[str, dict[str, str]] = {}
    while page := {texts[key]: texts for texts in map(_texts, search(offset=len(found))) if texts.get(key)}:
        if page.keys() <= found.keys():
            break
        found |= page
    return list(found.values())


def _texts(found: dict[str, Any]) -> dict[str, str]:
    """The first value of each element of DICOM JSON that is a text."""
    return {tag: str(element["Value"][0]) for tag, element in found.items() if element.get("Value")}


def _require_size(total: int, count: int) -> None:
    if total > MAX_INFLATED_BYTES or count > MAX_MEMBERS:
        raise InputError(f"Expected a study of {MAX_INFLATED_BYTES} bytes and {MAX_MEMBERS} images; it has more")


def _require_stored(answer: Any, sent: Sequence[Any], url: str) -> None:
    """Raise OutputError unless the server says of each instance that it has it."""
    kept = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or ()}
    lost = [item for item in answer.get("FailedSOPSequence") or ()]
    if lost or not {str(dataset.SOPInstanceUID) for dataset in sent} <= kept:
        codes = ", ".join(f"{int(item.get('FailureReason', 0)):#06x}" for item in lost) or "none given"
        raise OutputError(f"Expected {url} to keep {len(sent)} objects; it kept {len(kept)} (reasons: {codes})")
