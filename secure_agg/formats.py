"""What a file is, by how it begins: for errors that say what was given instead of what was awaited.

Nothing is decoded and nothing believed: a file that begins like evidence may be none.
"""

from __future__ import annotations

import re
from typing import Final

EVIDENCE: Final = "evidence of a round"
TREE: Final = "evidence of a tree's round"
FAULT: Final = "a proof of fault"
FORK: Final = "a proof of a fork"
RECEIPT: Final = "a receipt (tlog-proof)"
NOTE: Final = "a checkpoint or another signed note"
TRUST: Final = "a trust file"
BEACON: Final = "a beacon file"
POLICY: Final = "a witness policy"
VERIFIER_KEY: Final = "a verifier key"
LEDGER: Final = "a ledger or another SQLite database"
PRIVATE_KEY: Final = "an identity's private key"
KEY_FILE: Final = "an encrypted key file"
ARCHIVE: Final = "a zip archive, as a model in an npz file is"
ARRAY: Final = "a numpy array"
JSON: Final = "a JSON document"

CHANGED_LINE_ENDS: Final = (
    "line ends were changed to CRLF, as mail programs and git do: every byte of it counts, take it as it was written"
)

_LOOKED_AT: Final = 4096
_TEXTS: Final = (
    (RECEIPT, re.compile(rb"c2sp\.org/tlog-proof@")),
    (TRUST, re.compile(rb"\s*\{[^{]{0,200}\"secure-agg-trust/")),
    (BEACON, re.compile(rb"\s*\{[^{]{0,200}\"secure-agg-beacon/")),
    (JSON, re.compile(rb"\s*[{\[]")),
    (PRIVATE_KEY, re.compile(rb"[0-9a-f]{64}\s*\Z")),
    (VERIFIER_KEY, re.compile(rb"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\s*\Z")),
    (POLICY, re.compile(rb"(?:\s*#[^\n]*\n|\s*\n)*(?:log|witness|group|quorum)[ \t]+\S")),
    (NOTE, re.compile("[^\\n]+\\n(?s:.)*\\n\\n— ".encode())),
)
_BINARIES: Final = (
    (LEDGER, re.compile(rb"SQLite format 3\0")),
    (ARCHIVE, re.compile(rb"PK\x03\x04")),
    (ARRAY, re.compile(rb"\x93NUMPY")),
    (TREE, re.compile(rb".{4}[\x90-\x9f].{0,4}secure-agg/tree/", re.DOTALL)),
    (FAULT, re.compile(rb".{0,8}secure-agg/fault/", re.DOTALL)),
    (FORK, re.compile(rb".{0,8}secure-agg/fork/", re.DOTALL)),
    (KEY_FILE, re.compile(rb".{0,8}secure-agg-(?:key|operator)/", re.DOTALL)),
    (EVIDENCE, re.compile(rb".{4}[\x90-\x9f].{0,16}secure-agg/[0-9]", re.DOTALL)),
)


def kind(data: bytes | memoryview) -> str | None:
    """What a file seems to be, in words; None for anything unknown. Changed line ends make no difference."""
    begin = bytes(data[:_LOOKED_AT])
    for name, pattern in _BINARIES:
        if pattern.match(begin):
            return name
    text = begin.replace(b"\r\n", b"\n")
    return next((name for name, pattern in _TEXTS if pattern.match(text)), None)


def instead(data: bytes | memoryview, awaited: str) -> str:
    """The end of an error's sentence: `` (it is …)`` for something known that is not what was awaited, else nothing."""
    found = kind(data)
    return f" (this is {found})" if found not in (None, awaited) else ""


def has_changed_line_ends(data: bytes | memoryview, awaited: str) -> bool:
    """Whether a text that has newlines only, or seems to be what was awaited, has CRLF now."""
    return b"\r\n" in bytes(data) and kind(data) in (None, awaited)
