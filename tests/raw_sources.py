"""Raw sources for tests of prepare, and specs that read them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from shardline.spec import check_spec

SPLIT = {"train": 0.8, "validation": 0.1, "test": 0.1}


def spec_for(folder: Path, format: str, path: str, *, store: str | None = None, **data):
    """A spec whose relative locations count from `folder`."""
    options = {name: data.pop(name) for name in ("delimiter", "labels", "params") if name in data}
    source = {"format": format, "path": path, **options}
    values = {
        "name": "sample",
        "store": store or "store",
        "data": {"source": source, "label": {"name": "y", "dtype": "float32"}, **data},
        "model": {"builder": "model:build"},
    }
    return check_spec(values, where="spec").located_at(folder)


def write_images(folder: Path, *, per_class: int = 6, shape=(4, 5), classes=("cat", "dog", "ant")):
    """`folder/CLASS/N.png`, grey values by class and number."""
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            samples = np.full(shape, 10 * index + number, np.uint8)
            Image.fromarray(samples).save(folder / name / f"{number}.png")


def write_csv(file: Path, text: str) -> Path:
    """A file with exactly this text, folders made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def write_jsonl(file: Path, rows) -> Path:
    """One JSON object per line; text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return write_csv(file, "".join(line + "\n" for line in lines))


def write_parquet(file: Path, **columns) -> Path:
    """A Parquet file of these columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def table_csv(num_rows: int, *, first: int = 0) -> str:
    """Columns id, x (float), n (int) and y (float), rows numbered from `first`."""
    lines = [f"r{i},{i / 4},{i},{i * 2}" for i in range(first, first + num_rows)]
    return "id,x,n,y\n" + "".join(line + "\n" for line in lines)


def upload(store, folder, key):
    """Write every file below a folder to `key/RELATIVE`."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        store.write(f"{key}/{file.relative_to(folder).as_posix()}", file.read_bytes())
