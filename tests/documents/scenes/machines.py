"""Guides of several machines."""

from __future__ import annotations

from typing import Final

from documents.scenes import Scene

SCENES: Final = (Scene("docs/three-machines.md", by="tests/installs/test_three_machines.py"),)
