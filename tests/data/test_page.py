"""The dataset's page: whole, self-contained, and deaf to what names and values would like."""

import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import yaml
from tests.sample_datasets import write_dataset

from shardline.data.cleaning.record import ColumnRecord
from shardline.data.page import numbers
from shardline.data.page.page import dataset_page
from shardline.data.quarantine import Rejected
from shardline.data.quarantine_summary import QuarantineReason
from shardline.data.schema import Column, Label
from shardline.data.statistics.describe import describe
from shardline.data.statistics.table import TableSketch
from shardline.data.treatment import Treatment
from shardline.spec.cleaning import TextRule
from shardline.store import Store

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</style></title></svg><script>alert(1)</script>",
    "&lt;b&gt; &amp;",
    "javascript:alert(1)",
    "\u202eevil\u0000\n\x1b[31m",
    "x" * 5000,
]
VOID = {"meta", "br", "img", "input", "link", "hr"}
KNOWN_TAGS = (
    "html head meta title style body main header section h1 h2 p dl div dt dd ul li svg rect table "
    "thead tbody tr th td small span strong bdi code pre details summary figure figcaption"
)


class Page(HTMLParser):
    """Tags, attributes and texts; fails on what is not closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def page_of(tmp_path, columns, label, *, reasons=(), quarantined=0, name="toy", cleaning=None):
    """The page of a dataset with these train columns; texts and floats."""
    table = pa.table(columns)
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    statistics = describe({"train": sketch}, label=label)
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="int64")
    rows = {"x": np.arange(4, dtype=np.float32), "y": np.arange(4)}
    manifest = write_dataset(Store(f"file://{tmp_path}"), [x], y, {"train": rows})
    features = tuple(
        Column(name=field.name, dtype="string" if field.type == pa.string() else "float64")
        for field in table.schema
        if field.name != label
    )
    counts = manifest.counts.model_copy(
        update={
            "rows_quarantined": quarantined,
            "rows_read": manifest.counts.rows_read + quarantined,
        }
    )
    manifest = manifest.model_copy(
        update={
            "name": name,
            "counts": counts,
            "splits": {"train": manifest.split("train").model_copy(update={"rows": len(table)})},
            "cleaning": cleaning or {},
            "columns": manifest.columns.model_copy(update={"features": features}),
        }
    )
    return dataset_page(manifest, statistics, reasons)


def test_page_shares_of_classes_are_of_all_rows_also_those_of_classes_not_listed(tmp_path):
    labels = [0] * 1050 + list(range(1, 1051))
    page = Page(page_of(tmp_path, {"x": np.zeros(2100), "y": labels}, "y"))
    assert "The 1\u202f011 rarest are left out." in page.text
    assert "0train1\u202f05050 %" in page.text


@pytest.fixture
def hostile_page(tmp_path):
    texts = HOSTILE * 30
    columns = {name[:40]: texts for name in HOSTILE} | {"y": HOSTILE * 30}
    example = Rejected(reason=HOSTILE[1], file=HOSTILE[0], row=3)
    reasons = [QuarantineReason(HOSTILE[2], 2, (example,))]
    return page_of(tmp_path, columns, "y", reasons=reasons, quarantined=2, name=HOSTILE[0])


def test_page_of_hostile_names_and_values_holds_only_our_tags(hostile_page):
    page = Page(hostile_page)
    assert set(page.tags) <= set(KNOWN_TAGS.split())
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "href"]
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert "&lt;b&gt; &amp;" in page.text
    assert not re.search("[\x00\x1b\u202e]", hostile_page)
    assert "x" * 1300 not in hostile_page


def test_page_fetches_nothing_and_runs_nothing(hostile_page):
    page = Page(hostile_page)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "action", "style"}
    style = re.search("<style>(.*)</style>", hostile_page, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_page_offers_the_features_worth_keeping_as_yaml(tmp_path):
    y = np.arange(2000) % 2
    columns = {"good: one": y * 1.0, "bad": np.ones(2000), "y": y}
    page = page_of(tmp_path, columns, "y")
    offered = re.search("<pre>(.*?)</pre>", page, re.DOTALL).group(1)
    assert yaml.safe_load(offered) == {"features": {"good: one": {"dtype": "float64"}}}
    assert "has one value in all rows" in page


def test_page_has_every_part(tmp_path):
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 500)
    columns = {"a": y + random.normal(size=500), "city": ["Oslo", "Bergen"] * 250, "y": y}
    columns["b"] = columns["a"] ** 3
    example = Rejected("feature 'a' is 'x', expected float64", "raw.csv", 7)
    reasons = [QuarantineReason("feature 'a' is …, expected float64", 3, (example,))]
    page = Page(page_of(tmp_path, columns, "y", reasons=reasons, quarantined=3))
    for part in (
        "Features worth dropping", "Label balance", "Relevance for the label", "Nearly the same",
        "Columns", "Quarantine", "raw.csv row 7: feature 'a' is 'x', expected float64", "Bergen",
    ):  # fmt: skip
        assert part in page.text
    assert page.tags.count("details") == 4
    assert page.tags.count("rect") > 100


def test_page_says_what_cleaning_did(tmp_path):
    treatment = Treatment(
        text=TextRule(case="lower"), null_values=("NA",), map={"a": "b"}, low=-1.5, beyond="clip",
        fill=7.0, indicator=HOSTILE[0],
    )  # fmt: skip
    dropped = Treatment(drop_missing=True, high=9, beyond="quarantine")
    cleaning = {
        HOSTILE[1]: ColumnRecord(treatment=treatment, fitted_on=1200, touched={"clipped": 1234}),
        "plain": ColumnRecord(treatment=dropped, touched={}),
    }
    page = Page(page_of(tmp_path, {"x": [1.0, 2.0], "y": [0, 1]}, "y", cleaning=cleaning))
    for line in (
        "missing where it is 'NA'", "values beyond -1.5 to any are clipped", "clipped 1\u202f234",
        "missing values become 7.0", "values beyond any to 9 are set aside",
        "from 1\u202f200 values",
        "rows without a value are set aside", f"{HOSTILE[0]!r} says where it was missing",
    ):  # fmt: skip
        assert line in page.text


def test_page_of_a_regression_target_shows_its_histogram(tmp_path):
    x = np.random.default_rng(0).normal(size=500)
    page = Page(page_of(tmp_path, {"x": x, "y": x * 2}, "y"))
    assert "Label balance" not in page.text
    assert "Label" in page.texts
    assert "All 4 rows that were read were kept." in page.text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (-1234567, "-1\u202f234\u202f567"), (1e9, "1e+09"), (0.12345, "0.1235"),
        (1234.56, "1\u202f235"), (1e-9, "1e-09"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_short_numbers_are_short(number, text):
    assert numbers.short(number) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0 %"), (5, 5, "100 %"), (1, 0, "0 %"), (1, 99_999, "< 0.1 %"),
     (99_999, 100_000, "> 99.9 %"), (1, 3, "33.3 %")],
)  # fmt: skip
def test_share_is_all_or_nothing_only_where_it_is(part, whole, text):
    assert numbers.share(part, whole) == text


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [(0, "1970-01-01"), (90.5, "1970-01-01 00:01:30"), (1e18, "1e+18 s"), (-1e18, "-1e+18 s")],
)
def test_when_is_a_date_or_says_seconds(unix_s, text):
    assert numbers.when(unix_s) == text
