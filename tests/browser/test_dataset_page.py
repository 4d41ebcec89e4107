"""The dataset's page in a real browser: it opens, is drawn in light and dark, and runs nothing.

Needs `chromium`; `make test-browser` and `.ci/run` run it, `make test` does not.
"""

import re
import subprocess

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tests.raw_sources import spec_for

from shardline import inventory, line

HOSTILE = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
SIZE = (1200, 2400)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a dataset that went the whole way, hostile names and values in it."""
    folder = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    y = random.normal(size=2000)
    table = pa.table({"x": y + random.normal(size=2000), HOSTILE: [HOSTILE, "b"] * 1000, "y": y})
    pa.parquet.write_table(table, folder / "raw.parquet")
    line.prepare(spec_for(folder, "parquet", "raw.parquet"))
    file = folder / "page.html"
    file.write_text(inventory.page(str(folder / "store"), "sample", None), encoding="utf-8")
    return file


def opened(page, *options):
    """What headless Chromium says of the page on stdout and stderr."""
    command = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    log = ("--enable-logging=stderr", "--disable-background-networking")
    size = f"--window-size={SIZE[0]},{SIZE[1]}"
    profile = f"--user-data-dir={page.parent}/profile"
    return subprocess.run(
        [*command, *log, size, profile, *options, page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_page_opens_without_a_complaint_and_runs_nothing(page):
    seen = opened(page, "--dump-dom")
    assert re.search("<title>sample [0-9a-f]+</title>", seen.stdout)
    assert seen.stdout.count("<details>") == 3
    assert "<script" not in seen.stdout
    assert "CONSOLE" not in seen.stderr


@pytest.mark.parametrize(("scheme", "is_dark"), [("1", False), ("0", True)])
def test_page_is_drawn_in_light_and_dark(page, scheme, is_dark):
    picture = page.parent / f"{scheme}.png"
    opened(page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}")
    with Image.open(picture) as image:
        assert image.size == SIZE
        corner = image.convert("L").getpixel((2, 2))
        colors = len(image.convert("RGB").getcolors(maxcolors=SIZE[0] * SIZE[1]))
    assert (corner < 64) == is_dark
    assert colors > 50
