"""The dialogs, which open over the page: a name, a question, the readers of a study, how much is done, the keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trame.widgets import html
from trame.widgets import vuetify3 as v

from SpineLandmarksLib.annotation.wording import BODY, DISC, STATUS_WORDS
from SpineLandmarksLib.web.keys import KEYS


def build_dialogs(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Put them into the page. handlers: as of `page.build`."""
    _name_dialog(handlers)
    _question_dialog(handlers)
    _readers_dialog(handlers)
    _work_dialog()
    _help_dialog()


def _name_dialog(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with (
        v.VDialog(
            model_value=("!annotator",), persistent=True, max_width=420, raw_attrs=['aria-label="Who annotates?"']
        ),
        v.VCard(title="Who annotates?"),
    ):
        with v.VCardText():
            html.P("Your name is kept with each correction, and no study is given to two people.")
            v.VTextField(
                label="Your name",
                v_model=("name_field", ""),
                autofocus=True,
                classes="name-field",
                keydown="$event.key === 'Enter' && !$event.isComposing && trigger('begin', [name_field])",
            )
        with v.VCardActions():
            v.VBtn(
                "Begin",
                color="#8ab4f8",
                variant="flat",
                disabled=("!name_field.trim()",),
                classes="begin",
                click=(handlers["begin"], "[name_field]"),
            )


def _question_dialog(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with (
        v.VDialog(model_value=("!!question",), persistent=True, max_width=480, raw_attrs=['aria-label="One question"']),
        v.VCard(title="One question", classes="question"),
    ):
        v.VCardText("{{ question }}")
        with v.VCardText(v_if=("wants_text",)):
            v.VTextField(label="Reason", v_model=("reason", ""), autofocus=True, hide_details=True, classes="reason")
        with v.VCardActions():
            v.VBtn("No", variant="tonal", click=(handlers["answer"], "[false]"), classes="no")
            v.VBtn(
                "Yes",
                color="#8ab4f8",
                variant="flat",
                disabled=("wants_text && !reason.trim()",),
                click=(handlers["answer"], "[true, reason]"),
                classes="yes",
                autofocus=True,
            )


def _help_dialog() -> None:
    with v.VDialog(v_model=("help", False), max_width=520, raw_attrs=['aria-label="Keys"']), v.VCard(title="Keys"):
        with v.VCardText(), html.Table(classes="keys"), html.Tbody():
            for key, _, words in KEYS:
                with html.Tr():
                    with html.Td():
                        html.Kbd(key)
                    html.Td(words)
        with v.VCardText(classes="legend"):
            for status, words in STATUS_WORDS.items():
                with html.Span():
                    html.Span(classes=f"dot {status}")
                    html.Span(words)
        with v.VCardText(classes="quiet"):
            html.P(f"A body: {BODY[0].lower()}{BODY[1:]}. A disc: {DISC[0].lower()}{DISC[1:]}.")
            html.Span(
                "In the views: drag a point; wheel: slices, or larger and smaller where there is one; right button: "
                "zoom; Shift and left button: move"
            )
        with v.VCardActions():
            v.VBtn("Close", click="help = false")


def _readers_dialog(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with (
        v.VDialog(v_model=("assigning", False), max_width=460, raw_attrs=['aria-label="Who reads this study?"']),
        v.VCard(title="Who reads this study?", classes="form"),
    ):
        with v.VCardText():
            html.P("Two or more, none of whom sees the points of the others. Where they agree, the mean is taken.")
            v.VCombobox(
                label="Readers",
                v_model=("chosen_people", []),
                items=("people",),
                multiple=True,
                chips=True,
                classes="readers",
            )
            v.VCombobox(label="Who decides (empty: any lead)", v_model=("arbiter", ""), items=("people",))
        with v.VCardActions():
            v.VBtn("Cancel", variant="tonal", click="assigning = false")
            v.VBtn(
                "Give",
                color="#8ab4f8",
                variant="flat",
                disabled=("chosen_people.length < 2",),
                click=(handlers["assign"], "[chosen_people, arbiter]"),
                classes="give",
            )


def _work_dialog() -> None:
    with (
        v.VDialog(
            model_value=("work.length > 0",),
            update_modelValue="work = []",
            max_width=520,
            raw_attrs=['aria-label="Work"'],
        ),
        v.VCard(title="Work", classes="work-table"),
    ):
        with v.VCardText(), html.Table():
            with html.Thead(), html.Tr():
                for head in ("", "signed off", "a day", "s a study", "to read"):
                    html.Th(head)
            with html.Tbody(), html.Tr(v_for="row in work", key="row[0]"):
                html.Td("{{ cell }}", v_for="(cell, n) in row", key="n")
        with v.VCardActions():
            v.VBtn("Close", click="work = []")
