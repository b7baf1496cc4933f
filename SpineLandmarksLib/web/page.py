"""The page: the queue on the left, the views in the middle, the landmarks on the right. Only what is where.

The style sheet of the page: dark around the image, light text, one colour for each status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

from SpineLandmarksLib.web.keys import KEYS, SCRIPT, known_keys
from SpineLandmarksLib.web.server import COME_BACK, LOST

TITLE = "Spine landmarks"
#: Action, words or a variable that holds them, icon, and the tip.
LANDMARK_BUTTONS = (
    ("confirm", ("confirm_words",), "mdi-check", "Confirm the selected landmark, or take it back (C)"),
    ("confirm_all", "Confirm all", "mdi-check-all", "Confirm all that have a point (Shift+C)"),
    ("not_visible", "Not visible", "mdi-eye-off-outline", "The selected landmark cannot be seen (X)"),
    ("place", "Place", "mdi-crosshairs-gps", "Click where the selected landmark is (P)"),
    ("shift_up", "Names up", "mdi-arrow-up-bold", "All names one level towards the head (Shift+U)"),
    ("shift_down", "Names down", "mdi-arrow-down-bold", "All names one level towards the feet (Shift+D)"),
    ("undo", "Undo", "mdi-undo", "Take the last step back (Ctrl+Z)"),
    ("redo", "Redo", "mdi-redo", "Do it again (Ctrl+Y)"),
    ("next", "Next doubtful", "mdi-help-circle-outline", "Go to the most doubtful one (N)"),
    ("relocalize", "Relocalize the rest", "mdi-auto-fix", "Find the others around what is corrected (Shift+L)"),
)
VIEW_BUTTONS = (
    ("zoom_in", "mdi-magnify-plus-outline", "Larger (+)"),
    ("zoom_out", "mdi-magnify-minus-outline", "Smaller (-)"),
    ("fit", "mdi-fit-to-page-outline", "Whole image (0)"),
    ("reset_window", "mdi-brightness-auto", "Brightness as at first"),
)


def build(server: Any, layout: Any, handlers: Mapping[str, Callable[..., Any]]) -> Any:
    """Make the page. layout: of the views. handlers: do, select, open, begin, comment, answer, dismiss."""
    server.state.trame__title = TITLE
    server.state.trame__template_error = LOST
    with VAppLayout(server, theme="dark", full_height=True) as page:
        client.Style(STYLE)
        client.Script(SCRIPT.replace("KNOWN", repr(known_keys())) + COME_BACK)
        with html.Div(classes="controller"):
            _left(handlers)
            _middle(page, layout, handlers)
            _right(handlers)
        _dialogs(handlers)
    return page


def _left(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="left"):
        html.Div(TITLE, classes="brand")
        html.Div("Research use. Not a medical device.", classes="quiet")
        with html.Div(classes="person", v_show=("annotator",)):
            v.VIcon("mdi-account", size="small")
            html.Span("{{ annotator }}")
        with html.Div(classes="progress"):
            html.Div("{{ done_count }} of {{ study_count }} signed off")
            v.VProgressLinear(
                model_value=("study_count ? 100 * done_count / study_count : 0",),
                color="#69c17d",
                height=6,
                rounded=True,
            )
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
            with html.Div(
                v_for="study in studies",
                key="study.key",
                click=(handlers["open"], "[study.key]"),
                classes=("['study', study.state, study.current ? 'current' : '']",),
                title=("study.key + ': ' + study.words",),
            ):
                html.Span("{{ study.key }}", classes="key")
                html.Span("{{ study.current && study.state === 'mine' ? 'open' : study.words }}", classes="words")
        with (
            html.Div(classes="notifications"),
            html.Div(
                v_for="notification in notifications",
                key="notification.number",
                classes=("['notification', notification.kind]",),
            ),
        ):
            html.Span("{{ notification.text }}")
            v.VIcon("mdi-close", size="small", click=(handlers["dismiss"], "[notification.number]"))
        with html.Div(v_if=("done_count || retrain_text",), classes="retrain"):
            v.VBtn(
                "{{ retrain_label }}",
                size="small",
                variant="tonal",
                prepend_icon="mdi-school-outline",
                click=(handlers["do"], "['retrain']"),
                classes="do-retrain",
                title="Train the model on what is signed off; used only if it is no worse",
            )
            v.VProgressLinear(model_value=("retrain_share",), v_if=("retrain_runs",), color="#8ab4f8", height=4)
            html.Div("{{ retrain_text }}", v_if=("retrain_text",), classes="quiet")
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
                hide_details=True,
                density="compact",
                classes="slider",
                color="#8ab4f8",
            )
            html.Span("black to white", v_if=("study_key",), classes="quiet")
            v.VRangeSlider(
                v_if=("study_key",),
                v_model=("grey_window", [0, 1]),
                title="Which grey is black and which is white",
                min=("grey_least",),
                max=("grey_most",),
                step=("(grey_most - grey_least) / 200",),
                hide_details=True,
                density="compact",
                classes="slider",
                color="#8ab4f8",
                strict=True,
            )
            v.VBtn(
                icon="mdi-contrast-box",
                size="small",
                variant=("mode === 'window' ? 'tonal' : 'text'",),
                title="Brightness with the mouse (W)",
                click=(handlers["do"], "['window']"),
            )
            for action, icon, tip in VIEW_BUTTONS:
                v.VBtn(icon=icon, size="small", variant="text", title=tip, click=(handlers["do"], f"['{action}']"))
        with html.Div(classes="views"):
            layout.initialize_layout_grid(page)
            html.Div("Click where {{ selected }} is. Esc ends placing", v_if=("mode === 'place'",), classes="hint")
            html.Div("Drag: brightness and contrast. W or Esc ends it", v_if=("mode === 'window'",), classes="hint")
            html.Div("Opening the study", v_if=("opening",), classes="hint")


def _right(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Div(classes="right"):
        with html.Div(classes="bar"):
            v.VBtn(
                "{{ model ? 'Localize anew' : 'Localize' }}",
                size="small",
                disabled=("!can.localize",),
                color=("model ? undefined : '#8ab4f8'",),
                variant=("model ? 'tonal' : 'flat'",),
                prepend_icon="mdi-auto-fix",
                click=(handlers["do"], "['localize']"),
                title="Let the model find all landmarks",
                classes="localize",
            )
            html.Span("{{ looked_at }}", classes="quiet")
            html.Div(classes="grow")
            html.Span("{{ save_text }}", classes=("['save', save_kind]",), v_show=("save_kind !== 'failed'",))
            html.Span("Not saved", classes="save failed", v_show=("save_kind === 'failed'",))
        with html.Div(classes="job", v_if=("job_stage",)):
            html.Span("{{ job_stage }}")
            v.VProgressLinear(model_value=("job_share",), indeterminate=("!job_share",), color="#8ab4f8", height=4)
            v.VBtn("Cancel", size="x-small", variant="tonal", click=(handlers["do"], "['cancel']"))
        html.Div("{{ save_text }}", v_if=("save_kind === 'failed'",), classes="notification error")
        with html.Div(classes="work"):
            _work(handlers)
        with html.Div(classes="bar last"):
            v.VBtn(
                "Skip",
                variant="tonal",
                click=(handlers["do"], "['skip']"),
                disabled=("!can.skip",),
                title="Leave this study, go to the next; what was done is kept",
                classes="do-skip",
            )
            v.VBtn(
                "Sign off, next",
                color="#69c17d",
                click=(handlers["do"], "['sign_off']"),
                classes="do-sign_off",
                disabled=("!can.sign_off",),
                prepend_icon="mdi-check-decagram",
                title="Every landmark is decided: this study is right (Shift+S)",
            )


def _work(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """What scrolls where the window is low; what ends a study stays in sight."""
    html.Div("{{ warning }}", v_for="warning in warnings", key="warning", classes="notification warning")
    _table(handlers)
    with html.Div(classes="buttons"):
        for action, words, icon, tip in LANDMARK_BUTTONS:
            text = words if isinstance(words, str) else f"{{{{ {words[0]} }}}}"
            v.VBtn(
                text,
                size="small",
                variant="tonal",
                prepend_icon=icon,
                disabled=(f"!can.{action}",),
                title=tip,
                click=(handlers["do"], f"['{action}']"),
                classes=f"do-{action}",
            )
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
        v.VBtn(
            "CSV",
            size="small",
            variant="tonal",
            prepend_icon="mdi-download",
            disabled=("!study_key",),
            click="utils.download(study_key + '.csv', trigger('csv'), 'text/csv')",
            classes="csv",
            title="Landmarks of this study as a table",
        )
        v.VBtn("Keys", size="small", variant="text", prepend_icon="mdi-keyboard-outline", click="help = true")


def _table(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with html.Table(classes="landmarks"):
        with html.Thead(), html.Tr():
            for head in ("Landmark", "Status", "Sure", "R", "A", "S", "Slice"):
                html.Th(head)
        with (
            html.Tbody(),
            html.Tr(
                v_for="row in rows",
                key="row.name",
                click=(handlers["select"], "[row.name]"),
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


def _dialogs(handlers: Mapping[str, Callable[..., Any]]) -> None:
    with v.VDialog(model_value=("!annotator",), persistent=True, max_width=420), v.VCard(title="Who annotates?"):
        with v.VCardText():
            html.P("Your name is kept with each correction, and no study is given to two people.")
            v.VTextField(
                label="Your name",
                v_model=("name_field", ""),
                autofocus=True,
                classes="name-field",
                keyup="$event.key === 'Enter' && trigger('begin', [name_field])",
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
    with (
        v.VDialog(model_value=("!!question",), persistent=True, max_width=480),
        v.VCard(title="One question", classes="question"),
    ):
        v.VCardText("{{ question }}")
        with v.VCardActions():
            v.VBtn("No", variant="tonal", click=(handlers["answer"], "[false]"), classes="no")
            v.VBtn(
                "Yes",
                color="#8ab4f8",
                variant="flat",
                click=(handlers["answer"], "[true]"),
                classes="yes",
                autofocus=True,
            )
    with v.VDialog(v_model=("help", False), max_width=520), v.VCard(title="Keys"):
        with v.VCardText(), html.Table(classes="keys"), html.Tbody():
            for key, _, words in KEYS:
                with html.Tr():
                    with html.Td():
                        html.Kbd(key)
                    html.Td(words)
        with v.VCardText(classes="quiet"):
            html.Span("In the views: drag a point; wheel: slices; right button: zoom; Shift and left button: move")
        with v.VCardActions():
            v.VBtn("Close", click="help = false")


STYLE = """
html, body { overflow: hidden !important; background: #000; }
.controller { display: flex; width: 100vw; height: 100vh; background: #101214; color: #e3e5e8; font-size: 13px; }
.left { width: 236px; padding: 12px; display: flex; flex-direction: column; gap: 10px;
  border-right: 1px solid #2a2d31; }
.middle { flex: 1; min-width: 0; display: flex; flex-direction: column; }
.right { width: 420px; padding: 8px 12px 12px; display: flex; flex-direction: column; gap: 8px;
  border-left: 1px solid #2a2d31; }
.work { flex: 1; min-height: 0; overflow-y: auto; display: flex; flex-direction: column; gap: 8px; }
.work > * { flex: none; }
.brand { font-size: 16px; font-weight: 600; }
.quiet { color: #9aa0a6; font-size: 12px; }
.grow { flex: 1; }
.person { display: flex; gap: 6px; align-items: center; }
.progress { display: flex; flex-direction: column; gap: 4px; }
.studies { flex: 1; overflow-y: auto; display: flex; flex-direction: column; gap: 2px; }
.study { padding: 6px 8px; border-radius: 4px; cursor: pointer; display: flex; flex-direction: column;
  border-left: 3px solid #5f6368; }
.study .key { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.study .words { color: #9aa0a6; font-size: 11px; }
.study:hover { background: #1d2125; }
.study.current { background: #22303f; }
.study.mine { border-left-color: #8ab4f8; }
.study.done { border-left-color: #69c17d; }
.study.done .key { color: #9aa0a6; }
.study.given, .study.forked { border-left-color: #f2a39a; }
.study.given { cursor: default; }
.retrain { display: flex; flex-direction: column; gap: 4px; }
.upload .file { display: flex; gap: 8px; align-items: center; border: 1px dashed #5f6368; border-radius: 4px;
  padding: 8px; cursor: pointer; color: #bdc1c6; }
.upload .file:hover { border-color: #8ab4f8; }
.upload input { width: 1px; height: 1px; opacity: 0; position: absolute; }
.bar { display: flex; align-items: center; gap: 8px; min-height: 40px; flex-wrap: wrap; }
.middle > .bar { padding: 0 8px 0 12px; background: #16191c; white-space: nowrap; flex-wrap: nowrap;
  border-bottom: 1px solid #2a2d31; }
.bar .title { font-weight: 600; margin-right: auto; min-width: 90px;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bar .slider { max-width: 170px; min-width: 90px; }
.views { flex: 1; min-height: 0; position: relative; background: #000; display: flex; }
.views > * { flex: 1; min-width: 0; }
.views .hint { position: absolute; left: 50%; top: 12px; transform: translateX(-50%); flex: none;
  background: #22303fee; border: 1px solid #8ab4f8; border-radius: 4px; padding: 6px 12px; pointer-events: none; }
.views img { touch-action: none; }
.notifications { display: flex; flex-direction: column; gap: 4px; }
.notification { background: #16191c; display: flex; gap: 8px; align-items: center; padding: 6px 10px; font-size: 12px;
  border-left: 3px solid #8ab4f8; }
.notification span { flex: 1; }
.notification.warning { border-left-color: #f6dd8c; background: #2b2817; }
.notification.error { border-left-color: #f28b82; background: #331c1b; }
.save { font-size: 12px; padding: 2px 8px; border-radius: 10px; }
.save.saved { color: #9ed8a6; }
.save.saving { color: #f6dd8c; }
.save.failed { background: #f28b82; color: #202124; font-weight: 600; }
.job { display: flex; gap: 10px; align-items: center; }
.job > span { white-space: nowrap; }
table.landmarks { width: 100%; border-collapse: collapse; font-size: 13px; }
table.landmarks th { text-align: left; color: #9aa0a6; font-weight: 500; font-size: 12px; padding: 2px 6px;
  border-bottom: 1px solid #2a2d31; }
table.landmarks th:nth-child(n+4) { text-align: right; }
table.landmarks td { padding: 3px 6px; border-bottom: 1px solid #1f2226; white-space: nowrap; }
table.landmarks tbody tr { cursor: pointer; }
table.landmarks tbody tr:hover { background: #1d2125; }
table.landmarks tbody tr.selected { background: #22303f; box-shadow: inset 3px 0 #8ab4f8; }
table.landmarks td.number { text-align: right; font-variant-numeric: tabular-nums; }
table.landmarks tr.stressed td.name { font-weight: 700; color: #f6dd8c; }
table.landmarks td.sure span { color: #202124; border-radius: 3px; padding: 1px 6px;
  font-variant-numeric: tabular-nums; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 6px; background: #5f6368; }
.dot.predicted { background: #ffd933; }
.dot.corrected { background: #66ffff; }
.dot.confirmed { background: #4de666; }
.dot.not_visible, .dot.out_of_view, .dot.none { background: transparent; border: 1px solid #9aa0a6; }
.buttons { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
.buttons .v-btn { justify-content: flex-start; text-transform: none; letter-spacing: 0; }
.v-btn { text-transform: none !important; letter-spacing: 0 !important; }
.comment { flex: none; }
.last .v-btn { flex: 1; }
table.keys td { padding: 1px 10px 1px 0; font-size: 12px; line-height: 18px; }
@media (max-width: 1250px) {
  .left { width: 180px; }
  .right { width: 330px; }
  table.landmarks th:nth-child(n+4):nth-child(-n+6),
  table.landmarks td:nth-child(n+4):nth-child(-n+6) { display: none; }
  .bar .slider { max-width: 110px; min-width: 60px; }
}
@media (max-width: 1400px) {
  .middle > .bar .quiet { display: none; }
}
@media (max-height: 800px) {
  .left, .right { padding-top: 4px; padding-bottom: 6px; }
  .right, .work { gap: 4px; }
  .bar { min-height: 34px; }
  table.landmarks td { padding: 1px 6px; }
  .buttons { gap: 4px; }
}
kbd { background: #2a2d31; border-radius: 3px; padding: 1px 6px; }
"""
