"""Retraining from the page: one button, how far it is, and the new model put to work when it was found no worse."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from SpineLandmarksLib.retraining.process import Retraining, RetrainStatus
from SpineLandmarksLib.worker.localization import LocalizationService

#: Between two looks at the files that say how far it is.
LOOK_S = 1.0
QUESTION = (
    "Retrain the model on the {count} studies that are signed off? It takes some minutes and all processors; "
    "correcting can go on. The new model is used only when it is found no worse on the locked hold-out."
)


class Learning:
    """retraining: of the data set. localization: starts anew with the model that was promoted."""

    def __init__(
        self, retraining: Retraining, localization: LocalizationService, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._retraining, self._localization, self._clock = retraining, localization, clock
        self._next_look = 0.0
        self.progress = RetrainStatus("none", "")

    def press(self, by: str, done_count: int, ask: Callable[[str, Callable[[], object]], None]) -> None:
        """What the button does. Raises what `Retraining` raises, when it is begun."""
        if self.progress.state == "running":
            self._retraining.stop()
        else:
            ask(QUESTION.format(count=done_count), lambda: self._retraining.start(by))
        self._next_look = 0.0

    def poll(self) -> bool:
        """Look how far it is; whether that has changed."""
        if self._clock() < self._next_look:
            return False
        self._next_look = self._clock() + LOOK_S
        before, self.progress = self.progress, self._retraining.progress()
        if before.state == "running" and self.progress.promoted and self._localization.job is None:
            self._localization.close()  # the next job starts a worker of the new model
        return before != self.progress

    def view_state(self) -> dict[str, Any]:
        """For the page."""
        return {
            "retrain_label": self._retraining.label,
            "retrain_text": "" if self.progress.state == "none" else self.progress.text,
            "retrain_share": round(100 * self.progress.share),
            "retrain_runs": self.progress.state == "running",
        }
