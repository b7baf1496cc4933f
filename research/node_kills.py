"""Kill the DICOM node at random points while studies come in twice, and see that each has one result.

    python -m research.node_kills --count 500 --kills 20 [--seed 0]

Each study is sent twice over, by a sender that tries again until all is acknowledged, to a real node in a process of
its own. dcmtk's `storescp` is the PACS. Each kill is SIGKILL, at a random time after a random number of results. At the
end every study must have one report and one capture, and nothing may wait. How often the PACS was given an object that
it had, because the kill came between its answer and the node's note of it, is told.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.uid import UID, MRImageStorage

from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import make_phantom

#: The longest wait for a result, s.
PATIENCE_S = 120.0


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.node_kills", description=__doc__.partition("\n")[0])
    p.add_argument("--count", type=int, default=500, metavar="N")
    p.add_argument("--kills", type=int, default=20, metavar="N")
    p.add_argument("--seed", type=int, default=0)
    options = p.parse_args(arguments)
    if not shutil.which("storescp"):
        print("Expected dcmtk's storescp; apt-get install dcmtk", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), options.count, options.kills, random.Random(options.seed))
    print(found.text(options.count))
    return bool(found.problems)


@dataclass
class Findings:
    """again: objects that the PACS was given more than once, which have one UID and are one there."""

    kills: int = 0
    seconds: float = 0.0
    again: int = 0
    problems: list[str] = field(default_factory=list)

    def text(self, count: int) -> str:
        told = f"{count} studies sent twice, {self.kills} kills, {self.seconds:.0f} s: {len(self.problems)} problems; "
        return "\n".join([f"{told}{self.again} objects reached the PACS a second time", *self.problems[:20]])


def campaign(folder: Path, count: int, kills: int, rng: random.Random) -> Findings:
    """Send, kill, and count."""
    started, found = time.monotonic(), Findings()
    template = [pydicom.dcmread(file) for file in sorted(write_phantom(folder / "phantom").iterdir())]
    pacs = folder / "pacs"
    pacs.mkdir()
    with storescp(pacs) as port:
        node = NodeProcess(folder, port)
        sender = threading.Thread(target=send_all, args=(template, count, node), daemon=True)
        sender.start()
        for threshold in sorted(rng.randrange(count) for _ in range(kills)):
            await_results(pacs, threshold)
            time.sleep(rng.uniform(0.0, 1.5))
            node.kill()
            found.kills += 1
            node.start()
        await_results(pacs, count)
        sender.join()
        found.problems += node.await_empty()
        node.stop()
    log = (folder / "pacs.log").read_text(errors="replace")
    stored = Counter(re.findall(r"storing DICOM file: (\S+)", log))
    found.again = sum(stored.values()) - len(stored)
    found.problems += wrong(pacs, count)
    found.seconds = time.monotonic() - started
    return found


def write_phantom(folder: Path) -> Path:
    return write_dicom_series(make_phantom(11, matrix=(96, 80), pixel_mm=3.1, slices=2, slice_mm=4.4), folder)


def stamped(template: Iterable[Dataset], number: int) -> list[Dataset]:
    """The images as those of study `number`."""
    images = []
    for index, image in enumerate(template):
        one = pydicom.Dataset(image)
        one.file_meta = pydicom.dataset.FileMetaDataset(image.file_meta)
        one.PatientID, one.PatientName = f"P{number}", f"Secret^Name{number}"
        one.StudyInstanceUID = f"1.2.826.0.1.{number}"
        one.SeriesInstanceUID, one.FrameOfReferenceUID = f"{one.StudyInstanceUID}.1", f"{one.StudyInstanceUID}.2"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = UID(f"{one.StudyInstanceUID}.1.{index + 1}")
        images.append(one)
    return images


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """A real PACS of one folder; its port."""
    port = free_port()
    log = (folder.parent / "pacs.log").open("wb")
    command = ["storescp", "-v", "--aetitle", "PACS", "--output-directory", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()
        log.close()


class NodeProcess:
    """`spine-landmarks node` on one queue, started again after each kill."""

    def __init__(self, folder: Path, pacs_port: int) -> None:
        self.queue, self.port, self._log = folder / "queue", free_port(), folder / "node.log"
        words = ["node", "--aet", "NODE", "--port", str(self.port), "--send", f"PACS@127.0.0.1:{pacs_port}"]
        words += ["--queue", str(self.queue), "--quiet", "1"]
        self._command = [sys.executable, "-m", "SpineLandmarksLib", *words]
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it says when it listens

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._end()

    def _end(self) -> None:
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def await_empty(self) -> list[str]:
        """What still waits after `PATIENCE_S`, and studies that were put aside."""
        stages = ("incoming", "work", "send")
        until = time.monotonic() + PATIENCE_S
        while (left := [f"{s}/{n}" for s in stages for n in files(self.queue / s)]) and time.monotonic() < until:
            time.sleep(0.2)
        names = [f"{one} still waits" for one in left] + [f"failed: {name}" for name in files(self.queue / "failed")]
        return [*names, *(["the log names a patient"] if "Secret" in self.log else [])]


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if not file.name.startswith(".")]


def send_all(template: list[Dataset], count: int, node: NodeProcess) -> None:
    """Every study, and then every study again, each until all of it is acknowledged."""
    for _ in range(2):
        for number in range(count):
            images = stamped(template, number)
            while not sent(images, node.port):
                time.sleep(0.2)


def sent(images: list[Dataset], port: int) -> bool:
    from pynetdicom import AE

    ae: Any = AE(ae_title="SCANNER")
    ae.add_requested_context(MRImageStorage)
    association = ae.associate("127.0.0.1", port, ae_title="NODE")
    if not association.is_established:
        return False
    try:
        return all(association.send_c_store(image).get("Status") == 0 for image in images)
    except (RuntimeError, ValueError):  # it was killed meanwhile
        return False
    finally:
        if association.is_established:
            association.release()


def await_results(folder: Path, count: int) -> None:
    """Until the PACS has so many reports. Raises TimeoutError where none comes for `PATIENCE_S`."""
    last, until = -1, 0.0
    while (now := len(list(folder.glob("SR*")))) < count:
        if now > last:
            last, until = now, time.monotonic() + PATIENCE_S
        if time.monotonic() > until:
            raise TimeoutError(f"{now} of {count} results, and none for {PATIENCE_S:.0f} s")
        time.sleep(0.1)


def wrong(folder: Path, count: int) -> list[str]:
    """Studies whose reports and captures at the PACS are not one each."""
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()]
    got = Counter((str(one.StudyInstanceUID), str(one.Modality)) for one in headers)
    wanted = Counter((f"1.2.826.0.1.{number}", kind) for number in range(count) for kind in ("SR", "OT"))
    return [f"{study} {kind}: {got[study, kind]}" for study, kind in got | wanted if got[study, kind] != 1]


if __name__ == "__main__":
    sys.exit(main())
