"""Take the picture of the server's page: `PYTHONPATH=tests python benchmarks/picture.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from browser import browser
from PIL import Image
from selenium.webdriver.common.keys import Keys
from test_server_api import serving

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7."
    " 5) last, add 19. What is the result?"
)
SEED = "8"
UP = 4
"""Steps by which the budget slider is moved up."""
PICTURE = Path("docs/page.png")
WIDTH = 1120
COLOURS = 96
"""Number of colours, to keep the file small."""


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as address,
        browser() as page,
    ):
        page.open(address.removesuffix("/v1"), width=WIDTH)
        page.until(lambda: page.all("#curve svg"))
        page.one("#compare").click()
        page.run("document.getElementById('more').open = true")
        page.type("#seed", SEED)
        page.run("document.getElementById('more').open = false")
        page.run("document.getElementById('budget').focus()")
        page.press(*[Keys.ARROW_RIGHT] * UP)
        page.ask(QUESTION)
        page.run("document.activeElement.blur()")
        shot = page.shoot("page", width=WIDTH)
    Image.open(shot).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
