"""Ordinary architectures: each is frozen, passes the graph scan and answers alike wherever loaded.

One process freezes all of them; one clean process, in which there is no shardline, loads all.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import keras
import pytest
from tests.models import ordinary_signals, ordinary_tables
from tests.models.ordinary import write_everything
from tests.sample_datasets import spec_for

from shardline.artifacts.answers import answering
from shardline.artifacts.candidate import RestoredModel
from shardline.artifacts.export import freeze_model
from shardline.artifacts.golden import golden_rows, read_trial_rows
from shardline.artifacts.own_objects import LAMBDA, own_objects
from shardline.artifacts.parity import compare, read_arrays, write_arrays
from shardline.artifacts.safety import check_keras_file
from shardline.artifacts.signature import call_keywords
from shardline.errors import UnsafeModelError
from shardline.model.builder import build_model, model_inputs
from shardline.model.code import collect_code
from shardline.store import Store

LOADING = Path(__file__).with_name("stock_loading.py")


@dataclass(frozen=True)
class Case:
    """One architecture, and the dtype policy it is built under."""

    build: object
    policy: str = "float32"


CASES = {
    **{
        build.__name__: Case(build)
        for build in (*ordinary_tables.TABLES, *ordinary_signals.SIGNALS)
    },
    "bfloat16": Case(ordinary_signals.network_in_low_precision, "mixed_bfloat16"),
    "float16": Case(ordinary_signals.recurrence_in_low_precision, "mixed_float16"),
}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Folders of all architectures with rows and expected answers, by name; errors in their place.

    Afterwards a clean process has written what it found beside them.
    """
    root = tmp_path_factory.mktemp("ordinary")
    store = Store(f"file://{root}/store")
    dataset = write_everything(store)
    found = {}
    for number, (name, case) in enumerate(CASES.items()):
        folder = root / str(number)
        folder.mkdir()
        try:
            found[name] = folder, frozen_into(folder, store, dataset, case)
        except Exception as error:  # noqa: BLE001  each architecture's own test raises it
            found[name] = folder, error
    keras.config.set_dtype_policy("float32")
    sound = [str(folder) for folder, expected in found.values() if isinstance(expected, dict)]
    done = subprocess.run(
        [sys.executable, "-I", str(LOADING), *sound], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return found


def frozen_into(folder, store, dataset, case):
    train = {"mixed_precision": case.policy, "global_batch": 8}
    spec = spec_for(store, dataset, case.build, train=train)
    model = build_model(collect_code(spec), spec, dataset)
    restored = RestoredModel(model, model_inputs(model, dataset))
    freeze_model(restored, folder / "model", dataset.columns.label)
    rows = read_trial_rows(store, dataset, restored.inputs).columns
    chosen = golden_rows(rows, most=16)
    keywords = call_keywords(column.name for column in restored.inputs)
    golden = {column.name: rows[column.name][chosen] for column in restored.inputs}
    write_arrays(folder / "rows.npz", {keywords[name]: golden[name] for name in golden})
    own = [each.key for each in own_objects(folder / "model/model.keras", home="")]
    about = {"own": own, "columns": {keywords[name]: name for name in golden}}
    (folder / "about.json").write_text(json.dumps(about))
    return answering(restored, dataset.columns.label)(golden)


@pytest.mark.parametrize("name", CASES)
def test_ordinary_architecture_is_accepted_and_answers_alike_after_reload(name, frozen):
    folder, expected = frozen[name]
    if isinstance(expected, Exception):
        raise expected
    assert compare(expected, read_arrays(folder / "answers.npz")) <= 1e-5


def test_keras_files_are_accepted_but_for_those_with_code_of_the_users_own(frozen):
    accepted = []
    for name, (folder, expected) in frozen.items():
        file = folder / "model/model.keras"
        if not isinstance(expected, dict):
            continue
        if own_objects(file, home=""):
            with pytest.raises(UnsafeModelError, match=r"has a Lambda|needs custom code"):
                check_keras_file(file)
        else:
            check_keras_file(file)
            accepted.append(name)
    assert len(accepted) >= 35


def test_keras_loads_models_with_own_objects_as_their_card_says(frozen):
    loaded = []
    for name, (folder, expected) in frozen.items():
        file = folder / "model/model.keras"
        home = CASES[name].build.__module__
        own = own_objects(file, home=home) if isinstance(expected, dict) else ()
        if not own or any(each.name == LAMBDA for each in own):
            continue
        given = {each.key: getattr(import_module(each.module), each.name) for each in own}
        keras.models.load_model(file, custom_objects=given)
        loaded.append(name)
    assert {"subclassed", "own_functions", "deep_and_cross"} <= {*loaded}


def test_keras_loads_the_others_without_custom_objects_and_answers_alike(frozen):
    worst = {
        name: json.loads((folder / "about.json").read_text()).get("keras_error")
        for name, (folder, expected) in frozen.items()
        if isinstance(expected, dict)
    }
    own = [name for name, error in worst.items() if error is None]
    assert len(own) < len(CASES) // 4
    # Called eagerly, bytes that are resized round otherwise than in a graph (keras 3.15).
    assert {name: error for name, error in worst.items() if error and error > 1e-3} == {}


def test_architectures_are_many():
    assert len(CASES) >= 40
