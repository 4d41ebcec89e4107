"""Nothing under version control knows the machine or the package index it was written on."""

import re

import pytest
from tests.architecture.source_tree import ROOT, tracked_files

BINARY = {
    ".png", ".parquet", ".arrow", ".safetensors", ".keras", ".pb", ".index",
    ".data-00000-of-00001",
}  # fmt: skip
# In brackets here and there, so that this file does not find itself.
HOSTS = r"pypi[.]org|pythonhosted[.]org|pypi[.]python|dev[p]i|art[i]factory"
FOLDERS = (
    r"(?<![\w.$}~)*-])/(?:w[o]rk|r[o]ot|h[o]me/\w+|U[s]ers/\w+|opt/(?:whee[l]s|pyp[i]))(?![\w-])"
)
FOREIGN = re.compile(f"{HOSTS}|{FOLDERS}")


def test_tracked_files_name_no_index_and_no_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked_files()
        if path.suffix not in BINARY
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FOREIGN.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("head", "tail", "foreign"),
    [
        ("https://pypi", ".org/simple", True),
        ("cd /wo", "rk/main", True),
        ("'/ro", "ot'", True),
        ("/ho", "me/someone/data", True),
        ("s3://bucket/wo", "rk/x", False),
        ("{folder}/ro", "ot", False),
        ("/roots", "", False),
    ],
)
def test_foreign_names_are_told_from_ours(head: str, tail: str, foreign: bool) -> None:
    assert bool(FOREIGN.search(head + tail)) == foreign
