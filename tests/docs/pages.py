"""The documentation's pages and the blocks in them."""

import re
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Block:
    language: str
    text: str
    page: Path
    line: int

    @property
    def name(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages():
    """Return the README files and every page below docs."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(language, page=None):
    """Return the fenced blocks of one language, of one page or of all."""
    return [
        Block(match[1], match[2], path, path.read_text()[: match.start()].count("\n") + 2)
        for path in ([page] if page else pages())
        for match in _BLOCK.finditer(path.read_text())
        if match[1] == language
    ]


def prose(page):
    """Return a page without its blocks."""
    return _BLOCK.sub("", page.read_text())


def sections(page, level):
    """Return the text under each heading of a level, by heading."""
    mark = "#" * level
    parts = re.split(rf"^{mark} (.+)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
