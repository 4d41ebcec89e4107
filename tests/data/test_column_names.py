"""What columns may be called: whatever tells them apart, in any script."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.preparing import manifest_of, prepare
from tests.raw_sources import spec_for, write_csv

from shardline.data.rows import require_columns
from shardline.errors import DataError

COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
"""One letter in two Unicode forms."""
FORMATS = {"csv": "raw.csv", "json": "raw.jsonl", "parquet": "raw.parquet", "arrow": "raw.arrow"}


def write_source(folder, format, names):
    """One row that is 1 in every column."""
    file = folder / FORMATS[format]
    table = pa.table([pa.array([1])] * len(names), names=names)
    if format == "csv":
        write_csv(file, ",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    elif format == "json":
        write_csv(file, "{" + ", ".join(f"{json.dumps(name)}: 1" for name in names) + "}\n")
    elif format == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return spec_for(folder, format, file.name)


def refused(spec, sentence):
    with pytest.raises(DataError) as caught:
        prepare(spec)
    assert sentence in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("format", FORMATS)
def test_names_of_any_script_are_kept_as_they_are(tmp_path, format):
    names = ["a b", DECOMPOSED, "שלום", "🙂 ", "目標"]
    spec = write_source(tmp_path, format, [*names, "y"])
    features = manifest_of(spec, prepare(spec)).columns.features
    assert [column.name for column in features] == names


@pytest.mark.parametrize("format", FORMATS)
def test_names_alike_but_for_their_unicode_form_are_refused(tmp_path, format):
    spec = write_source(tmp_path, format, [COMPOSED, DECOMPOSED, "y"])
    refused(spec, f"has several columns {DECOMPOSED!r}, alike but for their Unicode form; rename")


def test_names_alike_in_two_files_are_refused(tmp_path):
    write_csv(tmp_path / "raw/a.csv", f"{COMPOSED},y\n1,2\n")
    write_csv(tmp_path / "raw/b.csv", f"{DECOMPOSED},y\n1,2\n")
    refused(spec_for(tmp_path, "csv", "raw"), "the source has several columns")


@pytest.mark.parametrize("format", ["csv", "parquet", "arrow"])
def test_names_that_are_equal_are_refused(tmp_path, format):
    spec = write_source(tmp_path, format, ["x", "x", "y"])
    refused(spec, "has several columns 'x'; rename all but one.")


@pytest.mark.parametrize("format", FORMATS)
def test_column_without_a_name_is_no_feature_by_chance(tmp_path, format):
    spec = write_source(tmp_path, format, ["", "x", "y"])
    refused(spec, "the source has a column without a name, perhaps the row numbers that pandas")
    named = spec_for(tmp_path, format, FORMATS[format], features={"x": {"dtype": "int64"}})
    assert prepare(named).rows_kept == 1


@pytest.mark.parametrize("name", ["file", "row", "side", "place"])
@pytest.mark.parametrize("format", FORMATS)
def test_name_that_shardline_uses_itself_is_refused(tmp_path, format, name):
    name = f"shardline.{name}"
    spec = write_source(tmp_path, format, [name, "y"])
    refused(spec, f"has a column {name!r}, which is what shardline calls its own; rename it.")


def test_header_that_is_no_text_is_refused(tmp_path):
    spec = spec_for(tmp_path, "csv", "raw.csv")
    write_csv(tmp_path / "raw.csv", "größe,y\n1,2\n".encode("latin-1"))
    refused(spec, "raw.csv has a column whose name is not valid UTF-8; convert the file to UTF-8.")
    write_csv(tmp_path / "raw.csv", "x,y\n1,2\n".encode("utf-16-le"))
    refused(spec, "raw.csv has NUL bytes in the name of a column, as files of UTF-16 text or none")
    write_csv(tmp_path / "raw.csv", b'"x,y\n1,2\n')
    refused(spec, "raw.csv opens a quote in its header that is never closed; mend the file.")


def test_label_in_another_unicode_form_is_told_how_to_be_written(tmp_path):
    write_csv(tmp_path / "raw.csv", f"x,{DECOMPOSED}\n1,2\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", label={"name": COMPOSED, "dtype": "float32"})
    refused(spec, 'where it has another Unicode form: write "e\\u0301" in the spec.')


def test_missing_column_among_thousands_is_a_sentence():
    names = [f"c{number}" for number in range(3000)]
    with pytest.raises(DataError) as caught:
        require_columns(["x" * 10**6, *names], [("y", "label")], "raw.csv")
    assert len(caught.value.message) < 300
    assert caught.value.message.endswith(", c17, c18 and 2981 more.")
