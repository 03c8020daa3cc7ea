"""What the blocks of a guide need around them to be run: a scene for some of its sections, or for all of them.

Each module here has ``SCENES``, for documents that belong together. Tutorials need none: they have all that they use.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from documents.blocks import Block, blocks
from support.source_tree import ROOT


@dataclass(frozen=True)
class Scene:
    """Blocks that are run one after the other, in a folder of their own, and what surrounds them.

    Blocks of Python alone are run in this process and share their names. Where there are commands too, everything is
    run in one shell, in the document's order, and each block of Python by a process of its own.

    Attributes:
        document: path from the root.
        sections: headings above its blocks; none: all of the document that no other scene has.
        before: commands of a shell before all blocks. One that fails ends the scene, as in ``steps`` and ``after``.
        steps: by a block's first line, commands of a shell before it.
        given: by a block's first line, Python before it; by ``""`` before every block of Python.
        after: after all blocks, in the shell, or in Python where all blocks are: what the document promises and does
            not show.
        names: what is called otherwise here, such as hosts: text to text, in all blocks and steps.
        world: makes in the folder what has to be there and keeps up what has to run; yields more ``names``.
        needs: modules without which the scene is skipped.
        long: takes more than two seconds of processor time, and so is run by ``make test-long``.
        by: a test that runs these blocks in its own way, path from the root; nothing else is said then.
    """

    document: str
    sections: tuple[str, ...] = ()
    before: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    after: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    world: Callable[[Path], AbstractContextManager[Mapping[str, str]]] | None = None
    needs: tuple[str, ...] = ()
    long: bool = False
    by: str = ""

    def __str__(self) -> str:
        path = Path(self.document)
        name = path.parent.name if len(path.parts) > 1 and path.stem == "README" else path.stem
        return "-".join([name, *self.sections[:1]]).lower().replace(" ", "-")

    @property
    def path(self) -> Path:
        """Of the document."""
        return ROOT / self.document

    def blocks(self) -> list[Block]:
        """What is run, and the files among it.

        Raises:
            ValueError: the document has no such section, or no such block.
        """
        mine = [each for each in blocks(self.path) if self.takes(each)]
        absent = set(self.sections) - {each.section for each in mine}
        absent |= ({*self.steps, *self.given} - {""}) - {each.first for each in mine}
        if absent:
            raise ValueError(f"{self.document} has no such thing: {sorted(absent)}")
        return mine

    def takes(self, block: Block) -> bool:
        """Whether a block of the document belongs to this scene."""
        if self.sections:
            return block.section in self.sections
        taken = {section for other in every_scene() if other.document == self.document for section in other.sections}
        return block.section not in taken


def every_scene() -> tuple[Scene, ...]:
    """All scenes of all modules here."""
    if not _FOUND:
        for module in pkgutil.iter_modules(__path__):
            _FOUND.extend(importlib.import_module(f"{__name__}.{module.name}").SCENES)
    return tuple(_FOUND)


_FOUND: Final[list[Scene]] = []
