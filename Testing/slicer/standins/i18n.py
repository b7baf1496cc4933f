"""`slicer.i18n`: texts in the reader's language; here as they are, or marked, to see which ones are not translated."""

from __future__ import annotations

import types


class Translator:
    """mark: put before each text; empty for none. A text is known to translators as the source has it."""

    mark = ""

    def translate(self, context: str, text: str) -> str:
        return self.mark + text


TRANSLATOR = Translator()
MODULE = types.ModuleType("slicer.i18n")
MODULE.translate = TRANSLATOR.translate  # type: ignore[attr-defined]
MODULE.tr = lambda text: TRANSLATOR.translate("", text)  # type: ignore[attr-defined]
