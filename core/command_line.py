"""What commands share: options, a progress bar, and figures written to a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.studies import Study

JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]
StudyName = Annotated[str, typer.Option(help="Name of the study.")]


def progress_bar() -> "Progress":
    """Return a bar that a terminal shows where errors go, and that vanishes at its end."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def study_named(name: str) -> "Study":
    """Return a study by its name; a bad parameter if there is none."""
    from core.studies import STUDIES  # noqa: PLC0415

    if name not in STUDIES:
        raise typer.BadParameter(f"known studies are {', '.join(STUDIES)}", param_hint="--study")
    return STUDIES[name]


def write_json(path: Path | None, figures: dict[str, object]) -> None:
    """Write figures to a file, if one is named."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
