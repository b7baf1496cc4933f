"""The style sheet of the page: dark around the image, light text, one colour for each status."""

STYLE = """
html, body { overflow: hidden !important; background: #000; }
.desk { display: flex; width: 100vw; height: 100vh; background: #101214; color: #e3e5e8; font-size: 13px; }
.left { width: 236px; padding: 12px; display: flex; flex-direction: column; gap: 10px;
  border-right: 1px solid #2a2d31; }
.middle { flex: 1; min-width: 0; display: flex; flex-direction: column; }
.right { width: 420px; padding: 8px 12px 12px; display: flex; flex-direction: column; gap: 8px;
  border-left: 1px solid #2a2d31; overflow-y: auto; }
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
.middle > .bar { padding: 0 8px 0 12px; background: #16191c; border-bottom: 1px solid #2a2d31; flex-wrap: nowrap; }
.bar .title { font-weight: 600; margin-right: auto; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bar .slider { max-width: 170px; min-width: 90px; }
.views { flex: 1; min-height: 0; position: relative; background: #000; display: flex; }
.views > * { flex: 1; min-width: 0; }
.views .hint { position: absolute; left: 50%; top: 12px; transform: translateX(-50%); flex: none;
  background: #22303fee; border: 1px solid #8ab4f8; border-radius: 4px; padding: 6px 12px; pointer-events: none; }
.views > .says { position: absolute; left: 0; right: 0; bottom: 0; flex: none; z-index: 2; }
.said { background: #16191c; display: flex; gap: 8px; align-items: center; padding: 6px 12px;
  border-left: 3px solid #8ab4f8; }
.said span { flex: 1; }
.said.warning { border-left-color: #f6dd8c; background: #2b2817; }
.said.error { border-left-color: #f28b82; background: #331c1b; }
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
table.landmarks td { padding: 4px 6px; border-bottom: 1px solid #1f2226; white-space: nowrap; }
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
.dot.confirmed { background: #40d959; }
.dot.not_visible, .dot.out_of_view, .dot.none { background: transparent; border: 1px solid #9aa0a6; }
.buttons { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
.buttons .v-btn { justify-content: flex-start; text-transform: none; letter-spacing: 0; }
.v-btn { text-transform: none !important; letter-spacing: 0 !important; }
.comment { flex: none; }
.last .v-btn { flex: 1; }
table.keys td { padding: 1px 10px 1px 0; font-size: 12px; line-height: 18px; }
kbd { background: #2a2d31; border-radius: 3px; padding: 1px 6px; }
"""
