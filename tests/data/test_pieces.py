"""A source that grows is read where it grew, and the result is that of reading it all."""

import zlib

import pyarrow as pa
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import (
    SPLIT,
    spec_for,
    table_csv,
    upload,
    write_csv,
    write_images,
    write_parquet,
)

from shardline.data import intake
from shardline.data.first_pass import FirstPass
from shardline.data.manifest import dataset_versions
from shardline.data.rows import rejected_of
from shardline.data.sources import SourceFiles
from shardline.errors import DataError, IntegrityError, StoreUnavailableError
from shardline.store import Store


@pytest.fixture
def read_files(monkeypatch):
    """Names of the files whose bytes were asked for, in a list that grows."""
    names = []

    def noting(function):
        def noted(self, file, **options):
            names.append(file.name)
            return function(self, file, **options)

        return noted

    for method in ("read", "opened"):
        monkeypatch.setattr(SourceFiles, method, noting(getattr(SourceFiles, method)))
    return names


def pieces_of(spec):
    return [e.key for e in Store(spec.store).scan("pieces/sample/") if "index" not in e.key]


def grown(folder, store, **data):
    return spec_for(
        folder, "csv", "raw", store=store, split={"key": "id", "fractions": SPLIT}, **data
    )


def test_prepare_reads_only_files_that_were_added(tmp_path, read_files):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    spec = grown(tmp_path, "store")
    first = prepare(spec)
    write_csv(tmp_path / "raw/aa.csv", table_csv(30, first=100))
    read_files.clear()
    second = prepare(spec)
    # The first file's head tells what the columns are.
    assert read_files.count("b.csv") == 0
    assert read_files.count("a.csv") <= 2
    assert (first.rows_kept, second.rows_kept) == (100, 130)
    fresh = grown(tmp_path, "fresh")
    assert manifest_of(fresh, prepare(fresh)) == manifest_of(spec, second)
    train = set(rows_of(spec, first, splits=["train"])["id"].to_pylist())
    assert train < set(rows_of(spec, second, splits=["train"])["id"].to_pylist())


def test_prepare_same_source_twice_reads_nothing(tmp_path, read_files):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = grown(tmp_path, "store")
    prepare(spec)
    read_files.clear()
    assert prepare(spec).reused
    assert read_files == []


def test_prepare_changed_file_is_read_again_and_the_old_piece_is_gone(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    spec = grown(tmp_path, "store")
    prepare(spec)
    before = pieces_of(spec)
    write_csv(tmp_path / "raw/b.csv", table_csv(40, first=50))
    assert prepare(spec).rows_kept == 90
    assert len(pieces_of(spec)) == len(before) == 4
    (tmp_path / "raw/a.csv").unlink()
    assert prepare(spec).rows_kept == 40
    assert len(pieces_of(spec)) == 2


def test_prepare_other_types_read_all_files_again(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = spec_for(tmp_path, "csv", "raw", keep=["id"])
    prepare(spec)
    text = table_csv(50, first=50).splitlines()
    text[7] = "r56,1.0,0.5,3"
    write_csv(tmp_path / "raw/b.csv", "\n".join(text))
    result = prepare(spec)
    columns = manifest_of(spec, result).columns
    assert columns.feature("n").dtype == "float64"
    assert 0.5 in rows_of(spec, result)["n"].to_pylist()


def test_prepare_file_that_does_not_fit_the_columns_is_no_lost_file(tmp_path):
    write_parquet(tmp_path / "raw/a.parquet", x=[1.0, 2.0, 3.0], y=[1.0, 2.0, 3.0])
    times = pa.array(range(4), pa.timestamp("us"))
    write_parquet(tmp_path / "raw/b.parquet", x=times, y=[1.0, 2.0, 3.0, 4.0])
    for options in ({"reuse": False}, {}, {}):
        spec = spec_for(tmp_path, "parquet", "raw", features={"x": {"dtype": "float64"}}, **options)
        with pytest.raises(DataError, match=r"^feature 'x' holds timestamp\[us\], which cannot"):
            prepare(spec)


def test_prepare_wrong_guess_keeps_one_copy_and_is_not_made_from_all_files_again(
    tmp_path, read_files
):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50).replace(",5", ",x5"))
    spec = grown(tmp_path, "store", keep=["n"])
    prepare(spec)
    folder = tmp_path / "store/pieces/sample"
    assert len(list(folder.glob("*.arrow"))) == 2
    write_csv(tmp_path / "raw/c.csv", table_csv(50, first=100))
    read_files.clear()
    assert prepare(spec).rows_kept == 150
    assert read_files.count("b.csv") == 0
    assert len(list(folder.glob("*.arrow"))) == 3


def test_prepare_wrong_guess_makes_no_record_of_every_row(tmp_path, monkeypatch):
    numbers = "".join(f"{i},{i}\n" for i in range(3000))
    write_csv(tmp_path / "raw.csv", "x,y\n" + numbers + "".join(f"a{i},1\n" for i in range(40_000)))
    made = []

    def noted(raw, reasons, **options):
        made.append(len(reasons))
        return rejected_of(raw, reasons, **options)

    monkeypatch.setattr(intake, "rejected_of", noted)
    spec = spec_for(tmp_path, "csv", "raw.csv", store="store")
    result = prepare(spec)
    assert manifest_of(spec, result).columns.feature("x").dtype == "string"
    assert result.rows_kept == 43_000
    assert sum(made) <= intake.MIN_MISFITS


def test_prepare_rules_change_without_reading_again_what_they_do_not_touch(tmp_path, read_files):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    prepare(grown(tmp_path, "store"))
    read_files.clear()
    rules = {"cleaning": {"x": {"outliers": {"by": "iqr", "then": "clip"}}}}
    assert prepare(grown(tmp_path, "store", **rules)).rows_kept == 100
    assert read_files.count("b.csv") == 0


def test_prepare_torn_piece_is_read_again(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = grown(tmp_path, "store")
    prepare(spec)
    (record,) = [key for key in pieces_of(spec) if key.endswith(".json")]
    Store(spec.store).write(record, b"{")
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    assert prepare(spec).rows_kept == 100


@pytest.mark.parametrize("left", [None, 100])
def test_prepare_piece_without_its_rows_is_read_again(tmp_path, left):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = grown(tmp_path, "store")
    prepare(spec)
    (rows,) = (tmp_path / "store/pieces/sample").glob("*.arrow")
    whole = rows.read_bytes()
    rows.unlink()
    if left is not None:
        rows.write_bytes(whole[:left])
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    assert prepare(spec).rows_kept == 100
    assert rows.read_bytes() == whole


def test_prepare_whose_pieces_another_removes_says_to_run_it_again(tmp_path, monkeypatch):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    prepare(grown(tmp_path, "store"))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    other = grown(tmp_path, "store", keep=["n"])
    typed = FirstPass.rows

    def raced(self):
        monkeypatch.undo()
        rows = typed(self)
        prepare(other)
        return rows

    monkeypatch.setattr(FirstPass, "rows", raced)
    again = (
        r"pieces/sample/\w+\.arrow is gone, which another prepare .*; run the same command again"
    )
    with pytest.raises(StoreUnavailableError, match=again):
        prepare(grown(tmp_path, "store"))
    assert prepare(grown(tmp_path, "store")).rows_kept == 100


def test_prepare_damaged_piece_is_named(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = grown(tmp_path, "store")
    prepare(spec)
    (rows,) = (tmp_path / "store/pieces/sample").glob("*.arrow")
    rows.write_bytes(bytes(rows.stat().st_size))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    with pytest.raises(IntegrityError, match=r"\.arrow is damaged: .*; remove it and run the same"):
        prepare(spec)
    rows.unlink()
    assert prepare(spec).rows_kept == 100


def test_prepare_broken_off_keeps_what_it_has_read(tmp_path, monkeypatch, read_files):
    for number in range(3):
        write_csv(tmp_path / f"raw/{number}.csv", table_csv(50, first=50 * number))
    spec = grown(tmp_path, "store")
    bad = write_csv(tmp_path / "raw/3.csv", "id,x,n,z\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"3\.csv has no label 'y'"):
        prepare(spec)
    assert dataset_versions(Store(spec.store), "sample") == []
    bad.unlink()
    monkeypatch.setattr(intake._Reading, "typed", lambda *_: pytest.fail("a file was read again"))
    assert prepare(spec).rows_kept == 150


def test_prepare_reuse_can_be_declined(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    spec = grown(tmp_path, "store", reuse=False)
    declined = prepare(spec)
    assert pieces_of(spec) == []
    assert prepare(grown(tmp_path, "other")).version == declined.version


def test_prepare_images_that_were_added_are_read_alone(tmp_path, read_files):
    write_images(tmp_path / "raw", per_class=3)
    spec = spec_for(tmp_path, "images", "raw", label={"name": "class"})
    prepare(spec)
    write_images(tmp_path / "raw", per_class=1, classes=("elk",))
    read_files.clear()
    assert prepare(spec).rows_kept == 10
    assert set(read_files) <= {"ant/0.png", "elk/0.png"}


def labelled_spec(folder, store):
    return spec_for(
        folder, "images", "raw", store=store, labels={"path": "labels.csv"},
        label={"name": "kind"}, max_quarantined=0.9,
    )  # fmt: skip


def write_labels(folder, names):
    rows = [f"{name},{zlib.crc32(name.encode())},{name[:3]}\n" for name in names]
    write_csv(folder / "labels.csv", "file,n,kind\n" + "".join(rows))


# Of few rows each is read alone, of many those of a run are.
@pytest.mark.parametrize(("per_class", "most_read"), [(8, 5), (100, 150)])
@pytest.mark.parametrize("place", ["end", "middle"])
def test_prepare_images_and_labels_that_were_added_are_read_alone(
    tmp_path, read_files, per_class, most_read, place
):
    write_images(tmp_path / "raw", per_class=per_class)
    names = [f"{kind}/{n}.png" for kind in ("cat", "dog", "ant") for n in range(per_class)]
    write_labels(tmp_path, names)
    spec = labelled_spec(tmp_path, "store")
    assert prepare(spec).rows_kept == 3 * per_class
    write_images(tmp_path / "raw", per_class=1, classes=("elk",))
    cut = len(names) if place == "end" else 3
    names = [*names[:cut], "elk/0.png", "elk/none.png", *names[cut:]]
    names.remove("cat/5.png")
    write_labels(tmp_path, names)
    read_files.clear()
    result = prepare(spec)
    images = {name for name in read_files if name.endswith(".png")}
    assert "elk/0.png" in images
    assert len(images) <= most_read
    fresh = labelled_spec(tmp_path, "fresh")
    assert manifest_of(fresh, prepare(fresh)) == manifest_of(spec, result)
    assert quarantined(fresh, result) == quarantined(spec, result)
    assert [(row["file"], row["row"]) for row in quarantined(spec, result)] == [
        ("labels.csv", 1 + names.index("elk/none.png")), ("cat/5.png", 1),
    ]  # fmt: skip


def test_prepare_labelled_image_that_changed_is_read_again(tmp_path, read_files):
    write_images(tmp_path / "raw", per_class=4)
    names = [f"{kind}/{number}.png" for kind in ("cat", "dog", "ant") for number in range(4)]
    write_labels(tmp_path, names)
    spec = labelled_spec(tmp_path, "store")
    prepare(spec)
    (tmp_path / "raw/dog/2.png").write_bytes((tmp_path / "raw/dog/3.png").read_bytes())
    read_files.clear()
    result = prepare(spec)
    assert "dog/2.png" in read_files
    # The first image's shape is that of all.
    assert {name for name in read_files if name.startswith("cat")} == {"cat/0.png"}
    table = rows_of(spec, result)
    images = dict(zip(table["file"].to_pylist(), table["image"].to_pylist(), strict=True))
    assert images["dog/2.png"] == images["dog/3.png"] != images["dog/1.png"]


def test_prepare_s3_source_that_grows(tmp_path, s3_store, read_files):
    write_csv(tmp_path / "raw/a.csv", table_csv(30))
    upload(s3_store, tmp_path / "raw", "raw")
    spec = spec_for(tmp_path, "csv", f"{s3_store.uri}/raw", store=s3_store.uri, keep=["id"])
    prepare(spec, store=s3_store)
    s3_store.write("raw/b.csv", table_csv(30, first=30).encode())
    read_files.clear()
    assert prepare(spec, store=s3_store).rows_kept == 60
    assert read_files.count("a.csv") <= 2
