"""What README.md and docs/ promise: links lead somewhere, commands and settings exist, references are true."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import ROOT
from tests import reference_pages

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").glob("*.md")])
WRITTEN = [page for page in PAGES if page.name != "CHANGELOG.md" and page not in reference_pages.PAGES]
"""Pages that tell of this version, by people."""
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
COMMAND = re.compile(r"python -m ((?:core|federated|security|benchmarks|tests)[\w.]*)((?:[ \t]+[^\s`#|&;>]+)*)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return what a Git host calls the headings of a page."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        found.append(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_or_a_heading_that_is_there(page: Path) -> None:
    for match in LINK.finditer(prose(page)):
        target = match[1] or match[2]
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)} links to {target}"
        assert found.is_relative_to(ROOT), f"{name_of(page)} links out of the project: {target}"
        assert not anchor or anchor in anchors(found), f"{name_of(page)} links to {target}, which has no such heading"


def test_every_page_below_docs_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached, waiting = {index}, [index]
    while waiting:
        page = waiting.pop()
        for match in LINK.finditer(prose(page)):
            found = (page.parent / (match[1] or match[2]).partition("#")[0]).resolve()
            if found.suffix == ".md" and found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)

    below = [page for page in PAGES if name_of(page).startswith("docs/")]
    assert [name_of(page) for page in below if page not in reached] == []


@pytest.mark.parametrize("page", reference_pages.PAGES, ids=name_of)
def test_a_generated_page_is_what_the_code_says(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == reference_pages.PAGES[page](), "run `make docs`"


def test_every_setting_and_option_of_the_reference_says_what_it_is() -> None:
    for page in (reference_pages.settings_page(), reference_pages.commands_page(), reference_pages.errors_page()):
        rows = [line for line in page.splitlines() if line.startswith("| ")]
        assert rows
        for row in rows:
            assert all(cell.strip() for cell in row[2:-2].split(" | ")), row


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = set(re.findall(r"`(\w+)`", reference_pages.settings_page()))

    assert set(re.findall(r"\bHEMASEAL_[A-Z_]+\b", page.read_text(encoding="utf-8"))) - known == set()


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield module and words of each command of this project that a page shows; lines that go on are joined."""
    text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
    for match in COMMAND.finditer(text):
        yield match[1], match[2].split()


def sections() -> dict[str, set[str]]:
    """Return the options of each command in the reference, by the command's words."""
    found = {}
    for section in re.split(r"^#+ ", reference_pages.commands_page(), flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        found[title.removeprefix("python -m ")] = set(re.findall(r"`(--[\w-]+)`", body))
    return found


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    known = sections()
    for module, words in commands_of(page):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"python -m {module}"
        has_inner = any(title.startswith(f"{module} ") for title in known)
        if module not in known and not has_inner:
            continue  # benchmarks and processes that the app starts describe themselves
        title = f"{module} {words[0]}" if has_inner and words and re.fullmatch(r"[a-z-]+", words[0]) else module
        if title == module and has_inner and module not in known:
            continue  # the module is named, no command of it
        assert title in known, f"{name_of(page)}: python -m {title}"
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used - known[title] - {"--help"} == set(), f"{name_of(page)}: python -m {title}"
