"""The page beside a published ledger: ``index.html``, the proofs of fault, and ``site.json``, which names them.

What ``site.json`` says of keys and rosters is the log's own word, and the page says so.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg.errors import LedgerError
from secure_agg.explorer import PAGE
from secure_agg.files import sync, whole
from secure_agg.ledger.reader import LedgerReader

FORMAT: Final = "secure-agg-site/1"
INDEX: Final = "index.html"
SITE: Final = "site.json"
FAULTS: Final = "faults"


@dataclass(frozen=True)
class SiteReport:
    """What was written.

    Attributes:
        page: SHA-256 of ``index.html``, in hexadecimal.
        faults: proofs of fault that lie beside it.
    """

    page: str
    faults: int


def write_site(ledger: LedgerReader, directory: Path) -> SiteReport:
    """Write the page and what it needs into the directory of a published ledger.

    Args:
        ledger: of which the directory is the publication; its trust file goes with it, where there is one.
        directory: there already.

    Raises:
        LedgerError: it can't be written.
    """
    proofs = {hashlib.sha256(data).hexdigest(): data for data in ledger.faults.proofs()}
    try:
        trust = ledger.trust_path.read_text("utf-8") if ledger.trust_path.exists() else None
        contents = {f"{FAULTS}/{name}.fault": data for name, data in proofs.items()}
        document = {"format": FORMAT, "trust": trust, "faults": sorted(proofs)}
        contents[SITE] = (json.dumps(document, indent=1) + "\n").encode()
        contents[INDEX] = PAGE.read_bytes()
        for name, data in contents.items():
            target = directory / name
            target.parent.mkdir(exist_ok=True)
            with whole(target) as file:
                file.write(data)
        for folder in {directory, *((directory / name).parent for name in contents)}:
            sync(folder)
    except OSError as error:
        raise LedgerError(f"{directory} can't be written: {error}") from error
    return SiteReport(hashlib.sha256(contents[INDEX]).hexdigest(), len(proofs))
