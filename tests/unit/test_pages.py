"""Pages: those in Chinese have the code, headings, tables and links of those in English; none is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks

from dit_run.config.effects import WITHOUT_EFFECT
from dit_run.config.schema_check import CODES

DOCS = ROOT / "docs"
TRANSLATED = [*sorted(DOCS.glob("*.zh.md")), ROOT / "README.zh.md"]
NAMES = {page.name for page in TRANSLATED}
CODE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def shape(text: str) -> dict[str, object]:
    """Return what a translation leaves as it is."""
    words = CODE.sub("", text)
    return {
        "code": CODE.findall(text),
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", words, re.MULTILINE)],
        "rows": len(re.findall(r"^\|", words, re.MULTILINE)),
        "points": len(re.findall(r"^(?:- |\d\. )", words, re.MULTILINE)),
        "links": sorted(re.findall(r"\]\(([^)]+)\)", words.replace(".zh.md", ".md"))),
        "names": sorted(set(re.findall(r"`([^`]+)`", words.replace("\n", " ")))),
    }


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_a_translation_leaves_code_headings_tables_and_links_as_they_are(page: Path) -> None:
    english = page.with_name(page.name.replace(".zh.md", ".md")).read_text(encoding="utf-8")
    assert shape(page.read_text(encoding="utf-8")) == shape(english)


def test_a_difference_shows() -> None:
    text = "# A\n\n```sh\ndit-run a.yaml\n```\n\n- see [b](b.md) and `c`\n"
    for before, after in (("a.yaml", "x.yaml"), ("# A", "## A"), ("b.md", "d.md"), ("- see", "see"), ("`c`", "`e`")):
        assert shape(text.replace(before, after)) != shape(text)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(
        str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if not path.name.endswith(".zh.md")
    )


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_site_shows_every_block(page: Path) -> None:
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("```")]
    assert [line for line in lines if not re.fullmatch(r'```((python|sh|text|toml|yaml)( title="\S+")?)?', line)] == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_commands_are_in_blocks_of_the_shell(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    others = [block.text for block in blocks(text) if block.language not in ("sh", "python")]
    indented = re.findall(r"^ {4,}.*", CODE.sub("", text), re.MULTILINE)
    lines = [line.strip() for each in (*others, *indented) for line in each.splitlines()]
    assert [line for line in lines if re.match(r"(\$ )?(dit-run|python3?|pip|torchrun|docker) ", line)] == []


def codes_in_the_source() -> set[str]:
    """Return the first argument of every ``Problem(…)``, and the codes of the schema's keywords."""
    found = {WITHOUT_EFFECT, *CODES.values()}
    for path in (*(ROOT / "framework").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                first = [*node.args, *(each.value for each in node.keywords if each.arg == "code")][0]
                found |= {str(first.value)} if isinstance(first, ast.Constant) else set()
    return found


def test_every_code_of_a_problem_has_its_anchor() -> None:
    page = re.findall(r"^### (\S+)$", (DOCS / "codes.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(codes_in_the_source() - set(page)) == []
    assert sorted(set(page) - codes_in_the_source()) == [] and len(set(page)) == len(page)


def test_start_guides_and_troubleshooting_are_there_in_chinese() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    parts = navigation.partition("  - Reference:")[0]
    missing = [page for page in re.findall(r"([\w-]+)\.md$", parts, re.MULTILINE) if f"{page}.zh.md" not in NAMES]
    assert "own-images" in parts and missing == []
