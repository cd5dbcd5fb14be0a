"""Keeps the list of modules in docs/architecture.md true: ``make docs`` writes it from each module's first line."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("core", "federated", "security", "db", "pages")
BEGIN = "<!-- modules: written by `make docs` -->\n"


def first_line(path: Path) -> str:
    """Return the first sentence of a module's docstring, without its full stop.

    Raises:
        ValueError: it has none.
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path} says nothing about itself")
    return re.split(r"(?<=[^.])\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def render() -> str:
    """Return the list: a heading for each folder, a line for each module."""
    lines = [BEGIN, *(f"- `{name}`: {first_line(ROOT / name)}\n" for name in ("Home.py", "asgi.py"))]
    folders = sorted({path.parent for name in FOLDERS for path in (ROOT / name).rglob("*.py")})
    for folder in folders:
        modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        if not modules or "versions" in folder.parts:
            continue
        lines.append(f"\n**{folder.relative_to(ROOT)}**\n\n")
        lines += [f"- `{path.stem}`: {first_line(path)}\n" for path in modules]
    return "".join(lines)


def main() -> None:
    """Write the list into the page."""
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    if not mark:
        sys.exit(f"{PAGE.name} has no line {BEGIN.strip()}")
    PAGE.write_text(before + render(), encoding="utf-8")


if __name__ == "__main__":
    main()
