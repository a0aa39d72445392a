"""Links between the pages of the documentation lead somewhere, and the Kanaries that they show are valid."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from engine.resolve.validation import read_spec

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=str,
)
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_MENTION = re.compile(r"`((?:docs|examples|manifests|tests|engine|kanary|states|scripts|images)/[\w./-]+)`")


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub and the site write them."""
    found: list[str] = []
    for heading in _HEADING.findall(prose(page)):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def links(page: Path) -> list[str]:
    found = (markdown or html for markdown, html in _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def problem(page: Path, link: str) -> str:
    """What is wrong with a link; empty if it leads somewhere."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: there is no such file"
    if page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
        return f"{link}: the site has only docs/: name the file without a link"
    if anchor and anchor not in anchors(target):
        return f"{link}: there is no such heading"
    return ""


def test_links_are_found() -> None:
    assert "LICENSE" in links(ROOT / "README.md")
    assert problem(ROOT / "README.md", "docs/nowhere.md")
    assert problem(ROOT / "README.md", "docs/faults.md#nowhere")
    assert not problem(ROOT / "README.md", "docs/faults.md#lost-peers")
    assert problem(DOCS / "faults.md", "../README.md")


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert [found for link in links(page) if (found := problem(page, link))] == []


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    assert [path for path in _MENTION.findall(prose(page)) if not (ROOT / path).exists()] == []


KANARIES = [
    pytest.param(yaml.safe_load(block), id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    if re.search("^kind: Kanary$", block, re.MULTILINE)
]


def test_kanaries_are_found() -> None:
    assert KANARIES


@pytest.mark.parametrize("manifest", KANARIES)
def test_a_kanary_that_a_page_shows_is_valid(manifest: dict) -> None:
    assert read_spec(manifest).routes


def test_every_page_of_the_docs_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"^ *- (?:\w+: )?(\S+\.md)$", menu, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
