"""Lets a file be dropped anywhere on the viewer's page.

viser has a button that asks for a file, and no place to drop one.  A small script hands what is dropped to that button's field.
"""

from __future__ import annotations

import html

_SCRIPT = """
if (!window.takesDroppedFiles) {
  window.takesDroppedFiles = true;
  window.addEventListener('dragover', event => event.preventDefault());
  window.addEventListener('drop', event => {
    event.preventDefault();
    const field = document.querySelector('input[type=file]');
    if (field && event.dataTransfer.files.length) {
      field.files = event.dataTransfer.files;
      field.dispatchEvent(new Event('change', { bubbles: true }));
    }
  });
}
"""

TAKES_DROPPED_FILES = f'<img src="data:," alt="" style="display: none" onerror="{html.escape(_SCRIPT)}">'
"""HTML for `gui.add_html`.  Scripts in it would not run, but what is to be done about a picture that does not load does."""
