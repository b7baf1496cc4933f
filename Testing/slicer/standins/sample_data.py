"""`SampleData`: the module's list of data sets, whose fields are as many as its addresses."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

SOURCES: dict[str, list[Any]] = {}


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: str | None = None,
        fileNames: str | None = None,
        nodeNames: str | None = None,
        customDownloader: Callable[[Any], Any] | None = None,
        thumbnailFileName: str | None = None,
    ) -> None:
        assert uris is not None
        assert fileNames is not None
        assert nodeNames is not None
        SOURCES.setdefault(category, []).append(
            types.SimpleNamespace(
                sampleName=sampleName, customDownloader=customDownloader, thumbnailFileName=thumbnailFileName
            )
        )


def click(category: str, name: str) -> Any:
    """What the button of a data set does."""
    source = next(each for each in SOURCES[category] if each.sampleName == name)
    return source.customDownloader(source)


MODULE = types.ModuleType("SampleData")
MODULE.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
