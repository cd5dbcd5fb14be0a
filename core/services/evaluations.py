"""Evaluations that this installation holds: how far each is, and what came of it.

Each is a folder below `Settings.evaluation_dir`, such as ``python -m core tables --out`` and ``attacks --out`` make.
Every number comes from the JSON of its steps; `core.evaluation.tables.contents` and `core.evaluation.attacks.contents`
say in which order. `core.services.evaluation_orders` orders, stops and removes them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import EvaluationBroken, NotFound
from core.evaluation.attacks import contents as attacks_contents
from core.evaluation.ordered import MOVING, Order, Phase, Standing, read_order, standing
from core.evaluation.tables import contents as tables_contents
from core.evaluation.tables.blocks import Block, Heading, Plot, Sentence, Table
from core.evaluation.tables.workbook import QUESTION, Workbook
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from db.engine import read_scope

__all__ = [
    "Block",
    "Evaluation",
    "Heading",
    "Kept",
    "Order",
    "Phase",
    "Plot",
    "Sentence",
    "Standing",
    "Table",
    "contents",
    "evaluations",
    "kept",
    "read_file",
]

_REPORTS = ("report.html", "report.pdf")
_STEPS = ("steps/*.json", "attacks/*.json")
_UNDONE = frozenset({Phase.STOPPED, Phase.LOST, Phase.FAILED})
_NAME = re.compile(r"[\w.-]{1,80}")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation as it stands.

    Attributes:
        name: of its folder.
        order: what was ordered; None where a command made the folder.
        standing: how far it is; None where a command made the folder.
        steps: files of steps that are finished.
        has_tables: the tables are made.
        has_attacks: attacks were run.
    """

    name: str
    order: Order | None
    standing: Standing | None
    steps: int
    has_tables: bool
    has_attacks: bool

    @property
    def is_moving(self) -> bool:
        """Whether a process works on it."""
        return self.standing is not None and self.standing.phase in MOVING

    @property
    def may_go_on(self) -> bool:
        """Whether something is left to do that can be done from here."""
        return self.order is not None and self.standing is not None and self.standing.phase in _UNDONE


@dataclass(frozen=True)
class Kept:
    """Files of an evaluation that can be taken along: reports, results of steps, and pictures that were recovered."""

    reports: tuple[str, ...]
    steps: tuple[str, ...]
    pictures: tuple[str, ...]


def evaluations(app: App, actor: Actor) -> list[Evaluation]:
    """Return all evaluations, the newest name first.

    Raises:
        NotAuthorised: only the authority evaluates.
    """
    _may_read(app, actor)
    return [view_of(folder) for folder in all_folders(app)]


def contents(app: App, actor: Actor, name: str) -> dict[str, list[Block]]:
    """Return what came of an evaluation by its headings; nothing where neither tables nor attacks are made.

    Raises:
        NotAuthorised: only the authority evaluates.
        NotFound: there is no such evaluation.
        EvaluationBroken: its files are not what the commands write.
    """
    _may_read(app, actor)
    folder = folder_of(app, name)
    view = view_of(folder)
    blocks: list[Block] = []
    try:
        if view.has_tables:
            blocks += tables_contents.contents(Workbook.found(folder))
        if view.has_attacks:
            blocks += attacks_contents.contents(folder)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise EvaluationBroken(name) from error
    return _by_heading(blocks)


def kept(app: App, actor: Actor, name: str) -> Kept:
    """Return which files of an evaluation can be taken along, as paths inside it.

    Raises:
        NotAuthorised: only the authority evaluates.
        NotFound: there is no such evaluation.
    """
    _may_read(app, actor)
    return _kept(folder_of(app, name))


def read_file(app: App, actor: Actor, name: str, path: str) -> bytes:
    """Return one of the files of `kept`.

    Raises:
        NotAuthorised: only the authority evaluates.
        NotFound: there is no such evaluation or file.
    """
    _may_read(app, actor)
    folder = folder_of(app, name)
    there = _kept(folder)
    if path not in (*there.reports, *there.steps, *there.pictures):
        raise NotFound
    return (folder / path).read_bytes()


def _may_read(app: App, actor: Actor) -> None:
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_EVALUATION, Relation.ANY)


def all_folders(app: App) -> list[Path]:
    """Return the folders of all evaluations, the newest name first."""
    try:
        found = [path for path in app.settings.evaluation_dir.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda path: path.name, reverse=True)


def folder_of(app: App, name: str) -> Path:
    """Return the folder of an evaluation; whoever asks was authorised.

    Raises:
        NotFound: there is no such evaluation.
    """
    found = next((path for path in all_folders(app) if path.name == name), None)
    if found is None:
        raise NotFound
    return found


def view_of(folder: Path) -> Evaluation:
    """Return how a folder stands."""
    return Evaluation(
        name=folder.name,
        order=read_order(folder),
        standing=standing(folder),
        steps=len(_files(folder, _STEPS)),
        has_tables=(folder / QUESTION).exists() and (folder / "steps" / "tables.json").exists(),
        has_attacks=(folder / attacks_contents.FILE).exists(),
    )


def _kept(folder: Path) -> Kept:
    return Kept(
        reports=tuple(name for name in _REPORTS if (folder / name).is_file()),
        steps=_files(folder, ("*.json", *_STEPS)),
        pictures=_files(folder, ("attacks/*.png",)),
    )


def _files(folder: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(path.relative_to(folder)) for pattern in patterns for path in sorted(folder.glob(pattern)))


def _by_heading(blocks: Sequence[Block]) -> dict[str, list[Block]]:
    """Return the blocks below each heading; what stands above the first one is the page's own to say."""
    chapters: dict[str, list[Block]] = {}
    for block in blocks:
        if isinstance(block, Heading):
            chapters[block.text] = []
        elif chapters:
            chapters[list(chapters)[-1]].append(block)
    return chapters
