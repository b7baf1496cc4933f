// Sends each known key that is pressed outside a text field, as "Ctrl+Shift+X". The page is mounted anew with
// each change of its layout, and runs this again: the listener of the last time goes.
window.removeEventListener('keydown', window.spineLandmarksKeys, true);
window.spineLandmarksKeys = function (event) {
  const place = event.target && event.target.tagName;
  if (document.querySelector('.question') && ['Enter', 'Escape'].includes(event.key)) {
    if (event.key === 'Enter' && event.target.closest('.no')) return;
    const reason = document.querySelector('.question .reason input');
    event.preventDefault();
    event.stopPropagation();
    if (event.key === 'Enter' && reason && !reason.value.trim()) return;
    window.trame.trigger('answer', [event.key === 'Enter', reason ? reason.value : '']);
    return;
  }
  if (place === 'TEXTAREA' && event.key === 'Escape') event.target.blur();
  if (place === 'INPUT' || place === 'TEXTAREA' || document.querySelector('.form') || event.altKey || !window.trame) return;
  if (/^(Arrow|Page)/.test(event.key) && event.target.closest('[role=slider]')) return;
  const letter = event.key.length === 1 && event.key.toLowerCase() !== event.key.toUpperCase();
  let name = letter ? event.key.toUpperCase() : event.key;
  if (event.shiftKey && (letter || event.key.startsWith('Arrow'))) name = 'Shift+' + name;
  if (event.ctrlKey || event.metaKey) name = 'Ctrl+' + name;
  if (name === 'Ctrl+Shift+Z') name = 'Ctrl+Y';
  if (KNOWN.includes(name)) {
    if (name !== 'Escape') {  // which closes dialogs too
      event.preventDefault();
      event.stopPropagation();
    }
    window.trame.trigger('key', [name]);
  }
};
window.addEventListener('keydown', window.spineLandmarksKeys, true);

// Comes back once the server answers again.
window.spineLandmarksBack = window.spineLandmarksBack || setInterval(function () {
  if (!document.querySelector('.lost')) return;
  fetch('/index.html', {cache: 'no-store'}).then(function (answer) {
    if (answer.ok) window.location.reload();
  }, function () {});
}, 1000);

// The pictures of the views come from a library without words for those who do not see them.
function nameViews() {
  document.querySelectorAll('img.image-display-area:not([alt])').forEach(function (image) {
    image.alt = 'A slice of the study with its landmarks; the table lists them';
  });
}

// When a dialog has gone and nothing has the focus, it goes back to what had it before.
document.addEventListener('focusin', function (event) {
  if (event.target.closest('.v-overlay-container')) return;
  window.spineLandmarksFocus = event.target;
  window.spineLandmarksDialog = false;
});
function returnFocus() {
  const before = window.spineLandmarksFocus;
  if (document.querySelector('.v-dialog.v-overlay--active')) window.spineLandmarksDialog = true;
  else if (window.spineLandmarksDialog && before && document.activeElement === document.body) before.focus();
}

nameViews();
window.spineLandmarksViews = window.spineLandmarksViews || new MutationObserver(function () {
  nameViews();
  returnFocus();
});
window.spineLandmarksViews.observe(document.documentElement, {childList: true, subtree: true});

// Of many rows, the one that is worked on is in sight.
window.spineLandmarksRows = window.spineLandmarksRows || new MutationObserver(function (changes) {
  changes.forEach(function (change) {
    if (change.target.matches('.rows tr.selected')) change.target.scrollIntoView({block: 'nearest'});
  });
});
window.spineLandmarksRows.observe(document.documentElement, {attributes: true, attributeFilter: ['class'], subtree: true});
