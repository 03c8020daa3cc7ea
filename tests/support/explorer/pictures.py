"""``make explorer-pictures``: how the page looks, for the README and the documents."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from support.explorer.browser import browser, make_ledger, new_page, publish, standing

from secure_agg.explorer.serving import SiteServer

WIDE = {"width": 1100, "height": 1180}
NARROW = {"width": 360, "height": 740}


def main(target: Path) -> None:
    """Write the pictures of a ledger that is right, of one that was altered, and of a narrow, dark screen."""
    with tempfile.TemporaryDirectory() as temporary, browser() as running:
        folder = publish(path := make_ledger(Path(temporary)), Path(temporary) / "public")
        with SiteServer((folder,)) as server:
            page = new_page(running, viewport=WIDE)
            page.goto(server.url)
            standing(page)
            page.get_by_label("Choose your trust file").first.set_input_files(f"{path}.trust.json")
            page.wait_for_selector("body[data-pins=own]")
            standing(page)
            page.screenshot(path=target / "explorer.png")
            page.goto(f"{server.url}#/record/1")
            page.wait_for_selector("h2:has-text('Who took part')")
            page.set_viewport_size(NARROW)
            page.emulate_media(color_scheme="dark")
            page.screenshot(path=target / "explorer-narrow.png")
            evidence = min((folder / "evidence").rglob("*.evidence"), key=lambda file: file.stat().st_size)
            data = evidence.read_bytes()
            evidence.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            page = new_page(running, viewport={"width": 1100, "height": 760})
            page.goto(server.url)
            standing(page)
            page.locator("section:has(h2:text-is('Rounds'))").scroll_into_view_if_needed()
            page.click("tr:has(.mark.failed) a >> nth=0")
            page.wait_for_selector("li.failed")
            page.screenshot(path=target / "explorer-altered.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
