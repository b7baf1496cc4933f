"""The page: the queue on the left, the views in the middle, the landmarks on the right. Only what is where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

from SpineLandmarksLib.web.dialogs import build_dialogs
from SpineLandmarksLib.web.keys import known_keys
from SpineLandmarksLib.web.labels import KINDS_OF_LABELS
from SpineLandmarksLib.web.server import LOST

HERE = Path(__file__).parent
TITLE = "Spine landmarks"
#: Height of a study in the list, as the style sheet has it: only the rows in sight are drawn.
ROW_PX = 50
SLIDER = {"hide_details": True, "density": "compact", "classes": "slider", "color": "#8ab4f8"}
#: Action, words or a variable that holds them, icon, and the tip.
LANDMARK_BUTTONS = (
    ("confirm", ("confirm_words",), "mdi-check", "Confirm the selected landmark, or take it back (C)"),
    ("confirm_all", "Confirm all", "mdi-check-all", "Confirm all that have a point (Shift+C)"),
    ("not_visible", "Not visible", "mdi-eye-off-outline", "The selected landmark cannot be seen (X)"),
    ("rest_not_visible", "Rest not visible", "mdi-eye-off", "All that are out of view cannot be seen (Shift+X)"),
    ("place", "Place", "mdi-crosshairs-gps", "Click where each missing landmark is, one after the other (P)"),
    ("next", "Next doubtful", "mdi-help-circle-outline", "Go to the most doubtful one (N)"),
    ("shift_up", "Names up", "mdi-arrow-up-bold", "All names one level towards the head (Shift+U)"),
    ("shift_down", "Names down", "mdi-arrow-down-bold", "All names one level towards the feet (Shift+D)"),
    ("undo", "Undo", "mdi-undo", "Take the last step back (Ctrl+Z)"),
    ("redo", "Redo", "mdi-redo", "Do it again (Ctrl+Y)"),
    ("relocalize", "Relocalize the rest", "mdi-auto-fix", "Find the others around what is corrected (Shift+L)"),
)
VIEW_BUTTONS = (
    ("zoom_in", "mdi-magnify-plus-outline", "Larger (+)"),
    ("zoom_out", "mdi-magnify-minus-outline", "Smaller (-)"),
    ("fit", "mdi-fit-to-page-outline", "Whole image (0)"),
    ("reset_window", "mdi-brightness-auto", "Brightness as at first"),
)


#: Chromium opens the chooser when the space bar goes up, if the page has drawn nothing of the field meanwhile.
PRESS_FILE = "['Enter', ' '].includes($event.key) && ($event.preventDefault(), $event.target.click())"


def _pressed(event: str, keys: str) -> str:
    """What Enter and the space bar do where something is clicked that is no button of the browser's own."""
    return f"['Enter', ' '].includes($event.key) && ($event.preventDefault(), trigger('{event}', [{keys}]))"


def build(server: Any, layout: Any, handlers: Mapping[str, Callable[..., Any]]) -> Any:
    """Make the page. layout: of the views. handlers: do, select, open, begin, comment, answer, dismiss."""
    server.state.trame__title = TITLE
    server.state.trame__template_error = LOST
    with VAppLayout(server, theme="dark", full_height=True) as page:
        client.Style((HERE / "style.css").read_text("utf-8"))
        client.Script((HERE / "script.js").read_text("utf-8").replace("KNOWN", repr(known_keys())))
        with html.Div(classes="controller"):
            _left(handlers)
            _middle(page, layout, handlers)
            _right(handlers)
        build_dialogs(handlers)
    return page


def _button(handlers: Mapping[str, Callable[..., Any]], action: str, *text: str, **look: Any) -> None:
    """A button that does an action."""
    look = {"size": "small", "variant": "tonal", "classes": f"do-{action}", **look}
    if not text and isinstance(look.get("title"), str):  # an icon alone says nothing to a screen reader
        look["raw_attrs"] = [f'aria-label="{look["title"]}"']
    v.VBtn(*text, click=(handlers["do"], f"['{action}']"), **look)


def _left(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="left"):
        html.Div(TITLE, classes="brand")
        html.Div("Research use. Not a medical device.", classes="quiet")
        with html.Div(classes="person", v_show=("annotator",)):
            v.VIcon("mdi-account", size="small")
            html.Span("{{ annotator }}{{ role ? ', ' + role : '' }}", classes="who")
            html.Div(classes="grow")
            v.VBtn("Work", size="x-small", variant="text", click="trigger('work')", title="How much is done, by whom")
            html.A("Log out", href="logout", v_if=("is_member",), classes="quiet logout")
        with html.Div(classes="progress"):
            html.Div("{{ done_count }} of {{ study_count }} signed off")
            v.VProgressLinear(
                model_value=("study_count ? 100 * done_count / study_count : 0",),
                raw_attrs=['aria-label="Studies signed off"'],
                color="#69c17d",
                height=6,
                rounded=True,
            )
        html.Input(
            v_model=("find", ""), v_if=("study_count > 8",), placeholder="Find by name, state or person", classes="find"
        )
        tip = "By the levels of which the model is not sure. Sign off, next goes on in the order of review"
        with html.Label(v_if=("study_count > 8",), classes="by-doubt quiet", title=tip):
            html.Input(type="checkbox", v_model=("by_doubt", False))
            html.Span("Most doubtful first")
        _studies(handlers)
        with (
            html.Div(classes="notifications", raw_attrs=['role="log"', 'aria-label="What happened"']),
            html.Div(
                v_for="notification in notifications",
                key="notification.number",
                classes=("['notification', notification.kind]",),
            ),
        ):
            html.Span("{{ notification.text }}")
            v.VBtn(
                icon="mdi-close",
                size="x-small",
                variant="text",
                click=(handlers["dismiss"], "[notification.number]"),
                raw_attrs=['aria-label="Take this message away"'],
            )
        with html.Div(v_if=("can_retrain && (done_count || retrain_text)",), classes="retrain"):
            tip = "Train the model on what is signed off; used only if it is no worse"
            _button(handlers, "retrain", "{{ retrain_label }}", prepend_icon="mdi-school-outline", title=tip)
            v.VProgressLinear(
                model_value=("retrain_share",),
                v_if=("retrain_runs",),
                color="#8ab4f8",
                height=4,
                raw_attrs=['aria-label="Retraining"'],
            )
            html.Div("{{ retrain_text }}", v_if=("retrain_text",), classes="quiet")
        _upload()


def _studies(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="studies"):
        html.Div(
            "Making the studies of the demo. The first comes in some seconds",
            classes="quiet",
            v_if=("!study_count && is_demo",),
        )
        html.Div(
            "No studies yet. Add one below, or with: spine-landmarks dataset add",
            classes="quiet",
            v_if=("!study_count && !is_demo && annotator",),
        )
        found = (  # a text, not a list: Vue would watch each of thousands of rows
            "JSON.parse(studies).filter(one => (one.key + ' ' + one.words).toLowerCase()"
            ".includes(find.trim().toLowerCase()))"
            ".sort((one, other) => by_doubt ? other.doubt - one.doubt : 0)"
        )
        with (
            v.VVirtualScroll(items=(found,), item_height=ROW_PX, item_key="key"),
            v.Template(v_slot_default="{ item: study }"),
            html.Div(
                click=(handlers["open"], "[study.key]"),
                raw_attrs=['tabindex="0"', 'role="button"', ':aria-current="study.key === study_key"'],
                keydown=_pressed("open", "study.key"),
                classes=("['study', study.state, study.key === study_key ? 'current' : '']",),
                title=("study.key + ': ' + study.words",),
            ),
        ):
            html.Span("{{ study.key }}", classes="key")
            plain = "['in work', 'predicted', 'new'].includes(study.words)"
            words = f"study.key === study_key && {plain} ? 'open' : study.words"
            html.Span(f"{{{{ {words} }}}}", classes="words")


def _upload() -> None:
    form = html.Form(
        action="upload", method="post", enctype="multipart/form-data", target="uploading", classes="upload"
    )
    with form, html.Label(classes="file"):
        v.VIcon("mdi-upload", size="small")
        html.Span("{{ upload_text || 'Add a study: DICOM zip or NIfTI' }}")
        html.Input(
            type="file",
            name="study",
            accept=".zip,.nii,.nii.gz,.gz",
            keydown=PRESS_FILE,
            change="$event.target.form.submit(); $event.target.value = ''",
        )
    html.Iframe(name="uploading", style="display: none")


def _middle(page: Any, layout: Any, handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="middle"):
        with html.Div(classes="bar"):
            html.Span("{{ study_key || 'No study is open' }}", classes="title", title=("study_key",))
            html.Span(
                "slice {{ slice_index }} (0 to {{ slice_count - 1 }})", v_if=("slice_count > 1",), classes="quiet"
            )
            v.VSlider(
                v_if=("slice_count > 1",),
                v_model=("slice_index", 0),
                min=0,
                max=("slice_count - 1",),
                title=("'Slice ' + slice_index",),
                step=1,
                **SLIDER,
            )
            html.Span("black to white", v_if=("study_key",), classes="quiet")
            v.VRangeSlider(
                v_if=("study_key",),
                v_model=("grey_window", [0, 1]),
                title="Which grey is black and which is white",
                min=("grey_least",),
                max=("grey_most",),
                step=("(grey_most - grey_least) / 200",),
                strict=True,
                **SLIDER,
            )
            pressed = ("mode === 'window' ? 'tonal' : 'text'",)
            tip = "Brightness with the mouse (W)"
            _button(handlers, "window", icon="mdi-contrast-box", variant=pressed, title=tip)
            pressed, tip = ("endplates ? 'tonal' : 'text'",), "Endplates, their corners and angles (E)"
            look = {"icon": "mdi-angle-acute", "variant": pressed, "v_if": ("can.endplates",), "title": tip}
            _button(handlers, "endplates", **look)
            for action, icon, tip in VIEW_BUTTONS:
                _button(handlers, action, icon=icon, variant="text", title=tip)
        with html.Div(classes="views"):
            layout.initialize_layout_grid(page)
            html.Div(
                "Click where {{ selected }} is. X: not visible. Esc ends placing",
                v_if=("mode === 'place'",),
                classes="hint",
            )
            html.Div("Drag: brightness and contrast. W or Esc ends it", v_if=("mode === 'window'",), classes="hint")
            html.Div("Opening the study", v_if=("opening",), classes="hint")


def _right(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="right"):
        with html.Div(classes="bar"):
            _button(
                handlers,
                "localize",
                "{{ model ? 'Localize anew' : 'Localize' }}",
                disabled=("!can.localize",),
                color=("model ? undefined : '#8ab4f8'",),
                variant=("model ? 'tonal' : 'flat'",),
                prepend_icon="mdi-auto-fix",
                title="Let the model find all landmarks",
                classes="localize",
            )
            html.Span("{{ looked_at }}", classes="quiet looked-at")
            html.Div(classes="grow")
            shown = {"classes": ("['save', save_kind]",), "raw_attrs": ['role="status"']}
            html.Span("{{ save_text }}", v_show=("save_kind !== 'failed'",), **shown)
            html.Span("Not saved", classes="save failed", v_show=("save_kind === 'failed'",))
        with html.Div(classes="job", v_if=("job_stage",)):
            html.Span("{{ job_stage }}")
            v.VProgressLinear(
                model_value=("job_share",),
                indeterminate=("!job_share",),
                color="#8ab4f8",
                height=4,
                raw_attrs=['aria-label="Localizing"'],
            )
            _button(handlers, "cancel", "Cancel", size="x-small")
        failed = {"v_if": ("save_kind === 'failed'",), "classes": "notification error", "raw_attrs": ['role="alert"']}
        html.Div("{{ save_text }}", **failed)
        with html.Div(classes="work"):
            _work(handlers)
        with html.Div(classes="bar last"):
            tip = "Leave this study, go to the next; what was done is kept"
            _button(handlers, "skip", "Skip", size="default", disabled=("!can.skip",), title=tip)
            _button(
                handlers,
                "sign_off",
                "Sign off, next",
                size="default",
                variant="elevated",
                color="#69c17d",
                disabled=("!can.sign_off",),
                prepend_icon="mdi-check-decagram",
                title="Every landmark is decided: this study is right (Shift+S)",
            )


def _work(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """What scrolls where the window is low; what ends a study stays in sight."""
    html.Div("{{ warning }}", v_for="warning in warnings", key="warning", classes="notification warning")
    _opinions(handlers)
    _table(handlers)
    with html.Div(classes="buttons"):
        for action, words, icon, tip in LANDMARK_BUTTONS:
            text = words if isinstance(words, str) else f"{{{{ {words[0]} }}}}"
            _button(handlers, action, text, prepend_icon=icon, disabled=(f"!can.{action}",), title=tip)
    _measurements()
    v.VTextarea(
        label="Comment",
        v_model=("comment", ""),
        rows=2,
        density="compact",
        hide_details=True,
        blur=(handlers["comment"], "[comment]"),
        disabled=("!study_key",),
        variant="outlined",
        classes="comment",
    )
    with html.Div(classes="bar"):
        _files()
        _study_buttons(handlers)


def _opinions(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Whose points may be taken, for who decides."""
    with html.Div(v_for="one in opinions", key="one.letter", classes="opinion"):
        html.Span("{{ one.shape }}", style=("{color: one.colour}",))
        html.Span("{{ one.letter }} {{ one.person }}", classes="grow")
        for number, order in ((0, "first"), (1, "second")):
            letter = "AB"[number]
            shown = {"size": "x-small", "v_if": (f"one.letter === '{letter}'",)}
            _button(handlers, f"take_{order}", "This one", title=f"The selected landmark ({letter})", **shown)
            _button(handlers, f"all_{order}", "Whole chain", title=f"All landmarks (Shift+{letter})", **shown)
    with html.Div(v_if=("opinions.length",), classes="opinion"):
        _button(handlers, "take_mean", "The middle", size="x-small", title="Of what the readers have (M)")


def _files() -> None:
    """The landmarks as files, out and in."""
    look = {"size": "small", "variant": "tonal", "prepend_icon": "mdi-download", "disabled": ("!study_key",)}
    v.VBtn(
        "CSV",
        click="utils.download(study_key + '.csv', trigger('csv'), 'text/csv')",
        classes="csv",
        title="Landmarks of this study as a table",
        **look,
    )
    v.VBtn(
        "DICOM",
        click="trigger('report').then((x) => x && utils.download(study_key + '.sr.dcm', x, 'application/dicom'))",
        classes="report",
        title="Landmarks of this study as a DICOM report, for studies that are DICOM",
        **look,
    )
    with html.Label(classes="import", title="Landmarks of this study from a file: CSV, markups or JSON"):
        v.VIcon("mdi-file-import-outline", size="small")
        html.Span("Import")
        html.Input(
            type="file",
            accept=KINDS_OF_LABELS,
            disabled=("!study_key",),
            keydown=PRESS_FILE,
            change="[...$event.target.files].forEach((file) => file.text().then("
            "(text) => trigger('labels', [file.name, text]))); $event.target.value = ''",
        )


def _study_buttons(handlers: Mapping[str, Callable[..., Any]]) -> None:
    v.VBtn("Keys", size="small", variant="text", prepend_icon="mdi-keyboard-outline", click="help = true")
    tip = "Bad image, wrong region: this study is to be left out"
    _button(handlers, "exclude", "Leave out", variant="text", disabled=("!study_key",), title=tip)
    tip = "Give this study to several readers, who do not see each other's points"
    v.VBtn(
        "Assign",
        size="small",
        variant="text",
        v_if=("can_assign && study_key",),
        click="chosen_people = []; arbiter = ''; assigning = true",
        classes="assign",
        title=tip,
    )
    tip = "Every reader gets this study once, as if it were new"
    _button(handlers, "gold", "Gold", variant="text", v_if=("is_lead && can_assign && study_key",), title=tip)


def _measurements() -> None:
    """By the corners of endplates, folded away until somebody asks."""
    with html.Details(v_if=("measured.length",), classes="measured"):
        html.Summary("Measurements")
        with html.Table(classes="measurements"):
            with html.Thead(), html.Tr():
                for head in ("Measurement", "Value (95 % interval)", "Usual"):
                    html.Th(head)
            with html.Tbody(), html.Tr(v_for="one in measured", key="one.name", title=("one.tip",)):
                for part in ("name", "words", "usual"):
                    html.Td(f"{{{{ one.{part} }}}}")


def _table(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="rows"), html.Table(classes="landmarks"):
        with html.Thead(), html.Tr():
            for head in ("Landmark", "Status", "Sure", "R", "A", "S", "Slice"):
                html.Th(head)
        with (
            html.Tbody(),
            html.Tr(
                v_for="row in rows",
                key="row.name",
                click=(handlers["select"], "[row.name]"),
                raw_attrs=['tabindex="0"', ':aria-current="row.selected"'],
                keydown=_pressed("select", "row.name"),
                classes=("[row.status, row.selected ? 'selected' : '', row.stressed ? 'stressed' : '']",),
            ),
        ):
            html.Td("{{ row.name }}", classes="name")
            with html.Td(classes="status"):
                html.Span(classes=("['dot', row.status]",))
                html.Span("{{ row.words }}")
            with html.Td(classes="sure"):
                html.Span(
                    "{{ row.sure }}",
                    v_if=("row.sure",),
                    style=("{background: row.colour}",),
                    title="Probability that the level is right",
                )
            for axis in "ras":
                html.Td(f"{{{{ row.{axis} }}}}", classes="number")
            html.Td("{{ row.slice }}", classes="number")
