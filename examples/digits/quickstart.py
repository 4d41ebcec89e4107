"""The whole line on real handwritten digits: raw PNG files to HTTP answers, on two Ray workers.

It runs the ordinary commands, printing each, and then proves that the three ways to use a model
(HTTP, batch scoring, the Keras file in memory) give the same answers for held-out images.
"""

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from make_raw import write_digits

import shardline
from shardline.artifacts.registry import resolve
from shardline.cli import main
from shardline.cluster.tasks import run_on_worker
from shardline.data.manifest import load_dataset
from shardline.data.reading import column_to_numpy, read_split
from shardline.report import write_table
from shardline.spec.locations import local_path
from shardline.store import Store

FOLDER = Path(__file__).parent
SPEC = FOLDER / "digits.yaml"
NUM_QUESTIONS = 64


def quickstart() -> None:
    """Run every stage, compare the answers and print what came out."""
    began_s = time.monotonic()
    print(f"{write_digits(FOLDER / 'raw')} handwritten digits as PNG files in {FOLDER / 'raw'}")
    command("prepare")
    with shardline.session() as ray:
        for verb in ("train", "evaluate", "export", "score"):
            command(verb)
        images, scored = held_out_images()
        with endpoint(ray.address) as url:
            answers = ask(url, images)
        in_memory = run_on_worker(predict_in_memory, newest_keras_file(), images)
    http = np.array([answer["scores"] for answer in answers])
    http_error = float(np.abs(http - in_memory).max())
    batch_error = float(np.abs(scored - in_memory).max())
    model = resolve(Store(shardline.load_spec(SPEC).store), "digits", alias="production")
    program = os.path.relpath(Path(sys.executable).with_name("shardline"))
    report = {
        "model": f"digits version {model.version}, trained on 2 workers",
        "test accuracy": f"{model.metrics['accuracy']:.4f}",
        "held-out images asked": len(images),
        "HTTP against in-memory": f"{http_error:.1e} at most",
        "batch against in-memory": f"{batch_error:.1e} at most",
        "first answer": f"class {answers[0]['class']}",
        "seconds": f"{time.monotonic() - began_s:.0f}",
        "everything made": os.path.relpath(FOLDER / "store"),
        "look around": f"{program} models digits --store {os.path.relpath(FOLDER / 'store')}",
        "serve it": f"{program} serve {os.path.relpath(SPEC)}",
        "how it works": "README.md, ARCHITECTURE.md",
    }
    write_table("digits, from PNG files to HTTP answers", report)
    if max(http_error, batch_error) > 1e-5:
        sys.exit("the three ways to use the model disagree by more than 1e-5")


def command(verb: str) -> None:
    """Run one verb as the command line does."""
    arguments = [verb, os.path.relpath(SPEC)]
    print(f"\n$ shardline {shlex.join(arguments)}", flush=True)
    code = main(arguments)
    if code:
        sys.exit(code)


def held_out_images() -> tuple[np.ndarray, np.ndarray]:
    """Images of the test split, and what the batch job scored for them."""
    spec = shardline.load_spec(SPEC)
    store = Store(spec.store)
    dataset = load_dataset(store, spec.name)
    table = next(read_split(store, dataset, "test", columns=["image", "path"]))[:NUM_QUESTIONS]
    images = column_to_numpy(table["image"], dataset.columns.feature("image"))
    scored = shardline.score(spec)  # the job is complete: this only says where its output is
    parts = pq.read_table(local_path(scored.output), columns=["path", "scores"])
    scores = parts["scores"].combine_chunks().to_numpy_ndarray()
    row_of = {path: row for row, path in enumerate(parts["path"].to_pylist())}
    return images, scores[[row_of[path] for path in table["path"].to_pylist()]]


@contextmanager
def endpoint(address: str) -> Iterator[str]:
    """`shardline serve` on a free port, in a process of its own on the same Ray."""
    arguments = ["serve", os.path.relpath(SPEC), "--set", "serve.port=0", "--json"]
    print(f"\n$ shardline {shlex.join(arguments)}", flush=True)
    serve = [sys.executable, "-m", "shardline", *arguments, "--address", address]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        print(line, end="", flush=True)
        if not line:
            sys.exit(process.wait())
        try:
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def ask(url: str, images: np.ndarray) -> list[dict]:
    """The endpoint's answers, one per image."""
    body = json.dumps({"instances": images.tolist()}).encode()
    with urllib.request.urlopen(f"{url}/v1/models/digits:predict", data=body) as response:
        return json.load(response)["predictions"]


def newest_keras_file() -> Path:
    """The Keras file of the newest version."""
    files = (FOLDER / "store/models/digits").glob("*/model.keras")
    return max(files, key=lambda file: int(file.parent.name))


def predict_in_memory(file: Path, images: np.ndarray) -> np.ndarray:
    """What plain Keras says of the images."""
    import keras

    return keras.models.load_model(file).predict({"image": images}, verbose=0)


if __name__ == "__main__":
    quickstart()
