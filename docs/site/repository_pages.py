"""For MkDocs: files outside docs/ that pages link to become pages of the site, under repository/.

On a code host such a link leads to the file itself.  So pages are written for code hosts, and the site follows.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Dict, Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
"""The path in a link of Markdown, without its anchor.  Addresses of other sites have a colon."""
ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Files that become pages though no page links to them."""
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".cff": "yaml", "": "sh"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file outside docs/ that a page links to."""
    texts: Dict[str, str] = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    waiting = list(ALWAYS)
    done = set(texts)
    for path, text in texts.items():
        waiting.extend(linked(path, text))
    while waiting:
        path = waiting.pop()
        if path in done or path.startswith("docs/"):
            continue
        done.add(path)
        content = page_of(path)
        waiting.extend(linked(path, content) if path.endswith(".md") else ())
        files.append(File.generated(config, site_path(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links within the repository into links within the site."""
    here = page.file.src_uri
    path = f"docs/{here}"
    if here.startswith("repository/"):
        path = here[len("repository/") :]
        if not path.endswith(".md"):
            return markdown

    def replaced(match: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(path), match[1]))
        return os.path.relpath(site_path(target), os.path.dirname(here) or ".")

    return LINK.sub(replaced, markdown)


def linked(path: str, text: str) -> Iterator[str]:
    """The files that a page links to, as paths in the repository."""
    for target in LINK.findall(text):
        yield os.path.normpath(os.path.join(os.path.dirname(path), target))


def site_path(path: str) -> str:
    """Where a file of the repository is on the site, as the path of its source."""
    if path.startswith("docs/"):
        return path[len("docs/") :]
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def page_of(path: str) -> str:
    """The text of the page for a file: Markdown as it is, anything else as code."""
    file = ROOT / path
    if not file.is_file():
        raise PluginError(f"{path} is linked to, and is not a file of the repository")
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"
