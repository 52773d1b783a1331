"""Look at every page of the site, a report and a comparison in headless Chromium: `nox -s browser`, after `nox -s docs`.

Each page is loaded once and looked at 1280 and 390 pixels wide, light and dark: no error on the console, no request to another
host, every picture drawn and within the page's width. Chromium is the machine's (`chromium` on the path, or the path in
CHROMIUM).
"""

import contextlib
import functools
import http.server
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
# Chromium's own requests would be mistaken for the page's.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = """() => [...document.images].filter(i => i.loading !== 'lazy' || i.complete)
    .filter(i => !i.naturalWidth || !i.getClientRects().length || i.getBoundingClientRect().width > innerWidth + 1)
    .map(i => i.src.slice(0, 80))"""
TOO_WIDE = "() => document.documentElement.scrollWidth > innerWidth + 1"


def main() -> None:
    """Look at all pages; say what is wrong with which."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("Chromium is not there: install it (`apt-get install chromium`), or set CHROMIUM to its path.")
    site = ROOT / "site"
    if not (site / "index.html").exists():
        sys.exit("`site/` is not there: run `nox -s docs` first.")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        reports = Path(temporary)
        write_reports(reports)
        wrong, count = [], 0
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        for folder in (site, reports):
            with served(folder) as host:
                for path in sorted(folder.rglob("*.html")):
                    if path.name != "404.html":
                        count += 1
                        wrong += look(browser, host, path.relative_to(folder).as_posix())
        browser.close()
    for line in wrong:
        print(line)
    print(f"{count} pages, {len(wrong)} faults")
    sys.exit(bool(wrong))


def look(browser: Any, host: str, path: str) -> list[str]:
    """What is wrong with a page."""
    wrong: list[str] = []
    page = browser.new_page()
    page.on("console", lambda said: wrong.append(f"{path}: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"{path}: {error}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{host}/{path}", wait_until="load")
    for name, size in SIZES.items():
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            wrong += [f"{path}, {name}, {scheme}: picture {source}" for source in page.evaluate(PICTURES)]
            if page.evaluate(TOO_WIDE):
                wrong.append(f"{path}, {name}, {scheme}: wider than the window")
    page.close()
    return wrong + [f"{path} asks for {url[:90]}" for url in asked if foreign(url, host)]


def foreign(url: str, host: str) -> bool:
    """Whether a request leaves the page's own host."""
    return not url.startswith((host, "data:", "blob:", "about:"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def write_reports(folder: Path) -> None:
    """The report of a short training, and the page of two."""
    from adapmtl.__main__ import main as adapmtl
    from mtl_core.report import compare

    for seed in (0, 1):
        options = ["--data", "rooms", "--epochs", "1", "--width", "0.125", "--head-width", "16", "--backbone", "tiny"]
        if adapmtl(
            ["fit", *options, *(["--no-dense"] * seed), "--seed", str(seed), "--out", str(folder / f"seed{seed}")]
        ):
            sys.exit("no report could be made")
    compare([folder / "seed0", folder / "seed1"], folder / "comparison.html")


if __name__ == "__main__":
    main()
