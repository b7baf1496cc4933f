"""An app of MONAI Label that answers /infer with the landmarks of a lumbar spine MRI. Research use only.

    monailabel start_server --app THIS_FOLDER --studies STUDIES --conf command /path/to/spine-landmarks

MONAI Label and this program need different versions of pydicom, so each has an environment of its own: the command
`spine-landmarks serve` does the work (docs/worker.md), and nothing of this program is imported here.
The answer is what `predict` writes as JSON; the label image has a ball for each landmark, for clients that show one.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import nibabel
import numpy as np
from fastapi import HTTPException
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

NAMES = ("T12-L1", "L1", "L1-L2", "L2", "L2-L3", "L3", "L3-L4", "L4", "L4-L5", "L5", "L5-S1")
#: Of the ball that a landmark is in the label image.
RADIUS_MM = 4.0
#: Events after which the worker says no more of a job.
FINAL = ("done", "failed", "cancelled", "error")

Message = dict[str, Any]


class LandmarkWorker:
    """A process of `spine-landmarks serve`, started when it is needed and again when it has ended."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._ids, self._one_at_a_time = count(1), threading.Lock()

    def localize(self, path: str) -> Message:
        """The result of a study as `predict` writes it; HTTPException with one line where there is none."""
        with self._one_at_a_time:
            message = self._ask({"id": str(next(self._ids)), "do": "localize", "path": path})
        if message["event"] != "done":
            raise HTTPException(422, message.get("error", "It was cancelled"))
        result: Message = message["result"]
        return result

    def _ask(self, request: Message) -> Message:
        try:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message: Message = json.loads(line)
                if message.get("id") == request["id"] and message["event"] in FINAL:
                    return message
        except OSError as error:
            return {"event": "failed", "error": f"{self._command[0]}: {error.strerror or error}"}
        return {"event": "failed", "error": f"{' '.join(self._command)} has ended; what it said stands in the log"}

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, text=True, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process


class LandmarkTask(InferTask):  # type: ignore[misc]  # it is not installed beside this library
    """One bundle."""

    def __init__(self, worker: LandmarkWorker, bundle: str) -> None:
        labels = {name: number for number, name in enumerate(NAMES, start=1)}
        super().__init__(InferType.SEGMENTATION, labels, 3, f"Landmarks of the lumbar spine by {bundle}")
        self._worker = worker

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: Message, callbacks: Any = None) -> tuple[str | None, Message]:
        """Path of the label image, None where the study is no NIfTI file, and the result."""
        result = self._worker.localize(request["image"])
        return label_image(request["image"], result["landmarks"]), {**result, "label_names": self.labels}


def label_image(path: str, landmarks: Sequence[Mapping[str, Any]]) -> str | None:
    """A NIfTI file with a ball at each landmark, on the grid of the image at `path`; None for no NIfTI file."""
    if not path.endswith((".nii", ".nii.gz")):
        return None
    image: Any = nibabel.load(path)
    labels = np.zeros(image.shape[:3], np.uint8)
    for landmark in landmarks:
        if landmark["position_ras_mm"] is not None:
            draw_ball(labels, image.affine, np.array(landmark["position_ras_mm"]), 1 + NAMES.index(landmark["name"]))
    with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), file.name)
    return file.name


def draw_ball(
    labels: NDArray[np.uint8], ras_from_ijk: NDArray[np.float64], center_ras_mm: NDArray[np.float64], number: int
) -> None:
    """Set the voxels (I, J, K) whose centres are within RADIUS_MM to the number."""
    center = apply_affine(np.linalg.inv(ras_from_ijk), center_ras_mm)
    reach = RADIUS_MM / voxel_sizes(ras_from_ijk)
    low = np.maximum(np.ceil(center - reach), 0).astype(int)
    high = np.minimum(np.floor(center + reach) + 1, labels.shape).astype(int)
    for offset in np.ndindex(*np.maximum(high - low, 0)):
        ijk = low + offset
        if np.linalg.norm(apply_affine(ras_from_ijk, ijk) - center_ras_mm) < RADIUS_MM:
            labels[tuple(ijk)] = number


class SpineLandmarksApp(MONAILabelApp):  # type: ignore[misc]
    """conf: `command`, which starts this program (spine-landmarks), and `models`, names of bundles (lumbar11)."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        description = "Eleven named landmarks, T12-L1 to L5-S1, on lumbar spine MRI. Research use only."
        super().__init__(app_dir, studies, conf, name="SpineLandmarks", description=description)

    def init_infers(self) -> dict[str, LandmarkTask]:
        command = self.conf.get("command", "spine-landmarks")
        bundles = self.conf.get("models", "lumbar11").split(",")
        return {name: LandmarkTask(LandmarkWorker(command, "serve", "--bundle", name), name) for name in bundles}
