"""Nothing under version control knows the machine or the package index it was written on."""

import re

from tests.architecture.source_tree import ROOT, tracked_files

# Written in pieces, so that this file does not find itself.
HOSTS = r"(?:pypi\.|pythonhosted\.)" + r"org|(?:test\.)?pypi\." + r"python|devpi|artifactory"
FOLDERS = (
    r"(?<![\w.$}~)*-])/" + r"(?:work|root|home/\w+|Users/\w+|opt/(?:wheels|pypi))(?:/|\b(?!\w))"
)
FOREIGN = re.compile(f"{HOSTS}|{FOLDERS}")


def test_tracked_files_name_no_index_and_no_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked_files()
        if path.suffix not in {".png", ".parquet", ".keras"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FOREIGN.search(line)
    ]
    assert found == []
