"""A hook of mkdocs (`hooks:` in mkdocs.yml): the site has the pages of docs/ and those that live elsewhere in the repository.

README.zh-CN.md, SECURITY.md, CONTRIBUTING.md, CHANGELOG.md, machines/README.md and diagrams/ stay where a reader of the repository looks for
them, and are pages of the site as well. A link to one of them leads to that page. A link to a file that is no page, such as a
source file, becomes the path of that file: the site does not know where the repository is published.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
ADDED: Final = (
    "README.zh-CN.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "machines/README.md",
    "diagrams/*.md",
    "diagrams/*.svg",
)
PAGES_ADDED: Final = ("diagrams/review.html",)
LINK: Final = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
NO_PAGE: Final = re.compile(r"\[([^\]]*)\] (\(`[^`]*`\))")
"""`[text](path)` to a file that is no page: it becomes `text (path)`."""
CODE: Final = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds what lives outside of docs/, at the path that it has in the repository."""
    for pattern in (*ADDED, *PAGES_ADDED):
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Points every relative link at the page of the site that the repository's file has become."""
    inside = Path(page.file.abs_src_path).is_relative_to(config["docs_dir"])
    here = f"docs/{page.file.src_uri}" if inside else page.file.src_uri
    known = {("docs/" + uri if (ROOT / "docs" / uri).is_file() else uri): uri for uri in files.src_uris}

    def relinked(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        uri = known.get(target) or known.get(f"{target}/README.md") or known.get(f"{target}/index.md")
        if uri is None:
            return f"] (`{target}`)"
        way = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"]({way}{found[2] or ''})"

    parts = CODE.split(markdown)
    text = "".join(part if number % 2 else LINK.sub(relinked, part) for number, part in enumerate(parts))
    return NO_PAGE.sub(r"\1 \2", text)
