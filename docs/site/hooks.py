"""What the site has beside the files of ``docs/``: mkdocs calls these functions while it builds.

The reference of commands and of Python's names is made of the commands and of the names. Documents that lie elsewhere
in the repository are pages too, where they lie: a link to one leads there. What is linked to and is no document, a
script for instance, is named and not linked.
"""

from __future__ import annotations

import logging
import posixpath
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.exceptions import ConfigurationError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import commands  # type: ignore[import-not-found]  # noqa: E402 - beside this file, which is in no package
import names  # type: ignore[import-not-found]  # noqa: E402

OUTSIDE: Final = "repository"
"""The folder of the site in which documents lie that are not below ``docs/``."""
DOCUMENTS: Final = tuple(
    path.relative_to(ROOT).as_posix()
    for pattern in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/*/README.md")
    for path in sorted(ROOT.glob(pattern))
)
_LINK: Final = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_FENCE: Final = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_CODE: Final = re.compile(r"<code>[^<]*(?:--|\\\|)[^<]*</code>")
_OPTION: Final = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_SHIM: Final = "https://unpkg.com/iframe-worker/shim"
_OWN: Final = "site/offline.js"
_MADE: Final[dict[str, Callable[[], str]]] = {
    "reference/command-line.md": commands.listed,
    "reference/python.md": names.listed,
}
"""Pages whose last line, in italics, stands for what is made here."""
_UNLISTED: Final = "Guides"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put into the menu what is a page and is not named in it: decisions, documents, and whatever is new.

    Raises:
        ConfigurationError: a strict build that is quiet: mkdocs counts only the warnings that it says.
    """
    if config.strict and not logging.getLogger("mkdocs").isEnabledFor(logging.WARNING):
        raise ConfigurationError("a strict build that is quiet would find nothing: leave out --quiet")
    folders: dict[str, Any] = {title: below for entry in config.nav or () for title, below in entry.items()}
    decisions = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    folders["Decisions"] = ["decisions/README.md", *(f"decisions/{path.name}" for path in decisions)]
    listed = set(_files(folders))
    folders[_UNLISTED] += [path.name for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in listed]
    folders["Project"] = [f"{OUTSIDE}/{path}" for path in DOCUMENTS]
    config.nav = [{title: below} for title, below in folders.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for path in DOCUMENTS:
        files.append(File.generated(config, f"{OUTSIDE}/{path}", content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead every link to where its target is in the site, and put in what is made."""
    here = page.file.src_uri
    if here in _MADE:
        head, _, _ = markdown.rpartition("\n*")
        return f"{head}\n{_MADE[here]()}"
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(lambda at: _led(at, here), part) for part in parts)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take a script of our own in place of the only one that the theme would fetch from another host; keep the name of
    an option in one line, which browsers break behind its hyphens; and show a bar in a table without the backslash
    that it has in Markdown, as where a line may end.
    """
    output = _CODE.sub(
        lambda at: _OPTION.sub(r'<span class="whole">\g<0></span>', at[0].replace("\\|", "|<wbr>")), output
    )
    return output.replace(_SHIM, posixpath.relpath(_OWN, posixpath.dirname(page.file.dest_uri) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same in the page of what is not there."""
    return output_content.replace(_SHIM, f"/{_OWN}")


def _led(link: re.Match[str], here: str) -> str:
    """A link, from a page of the site."""
    target = link["target"]
    if "://" in target or target.startswith("mailto:"):
        return link[0]
    lies = here.removeprefix(f"{OUTSIDE}/") if here.startswith(f"{OUTSIDE}/") else f"docs/{here}"
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(lies), target))
    if not (ROOT / meant).exists() and not link["image"]:
        return link[0]  # a page that is made; or a broken link, which the build refuses
    if (ROOT / meant / "README.md").is_file():
        meant = f"{meant}/README.md"
    if meant.startswith("docs/"):
        there = meant.removeprefix("docs/")
    elif meant in DOCUMENTS:
        there = f"{OUTSIDE}/{meant}"
    else:
        return link["text"]
    way = posixpath.relpath(there, posixpath.dirname(here) or ".")
    return f"{link['image']}[{link['text']}]({way}{link['anchor'] or ''})"


def _files(entry: Any) -> list[str]:
    """The pages that a part of the menu names."""
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [name for each in below for name in _files(each)]
