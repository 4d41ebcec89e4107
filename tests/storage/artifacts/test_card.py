"""The model card, read as a person would."""

import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from shardline.artifacts.card import CardFacts, DataFacts, model_card
from shardline.artifacts.card_text import code
from shardline.artifacts.manifest import Lineage, ModelManifest, Seen, Slice
from shardline.artifacts.own_objects import LAMBDA, OwnObject
from shardline.data.padding import Padding
from shardline.data.schema import Column, Label
from shardline.data.treatment import Treatment
from shardline.serving.wire import parse_predict
from shardline.spec.revision import CodeRevision

INPUTS = (
    Column(name="petal length (cm)", dtype="float32"),
    Column(name="city", dtype="string", treatment=Treatment(fill="?")),
    Column(
        name="basket",
        dtype="int64",
        shape=(5,),
        padding=Padding(value=0, longer="cut"),
    ),
    Column(name="when", dtype="timestamp"),
    Column(
        name="age",
        dtype="float32",
        treatment=Treatment(fill=40.5, indicator="no age", low=0.0, high=99.0, beyond="clip"),
    ),
    Column(name="no age", dtype="int64", indicates="age", treatment=Treatment(fill=40.5)),
)


def accuracy(column, value, rows, measured):
    return Slice(column=column, value=value, rows=rows, measure="accuracy", measured=measured)


MANIFEST = ModelManifest(
    name="flowers",
    version=3,
    created_unix_s=1_774_958_400.0,
    inputs=INPUTS,
    outputs=(
        Column(name="scores", dtype="float32", shape=(2,)),
        Column(name="kind", dtype="string"),
    ),
    label=Label(name="kind", dtype="int64", vocabulary=("rose", "tulip")),
    metrics={"loss": 0.123456789, "accuracy": 0.975},
    evaluated_split="test",
    evaluated_rows=400,
    parity_max_abs_error=1.2e-7,
    lineage=Lineage(
        dataset="flowers",
        dataset_version="0a1b",
        run="flowers",
        step=120,
        checkpoint_digest="cc",
        spec_digest="dd",
        recipe_digest="ee",
        code_digest="ff",
        code_revision=CodeRevision(commit="1234abcd", dirty=True),
        libraries={"keras": "3.15.1", "numpy": "2.4.0"},
    ),
    seen={
        "petal length (cm)": Seen(min=1.0, max=6.9),
        "city": Seen(texts=12),
        "basket": Seen(min=0, max=49),
        "when": Seen(min=-60, max=253402300800),
        "age": Seen(min=0, max=99),
    },
    slices=(
        accuracy(None, "all", 400, 0.975),
        accuracy("kind", "tulip", 390, 0.98),
        accuracy("kind", "rose", 10, 0.8),
    ),
    example={
        "petal length (cm)": 1.5,
        "city": "Val d'Isère",
        "basket": [3, 4],
        "when": "1970-01-01T00:00:00.000000Z",
        "age": 7.0,
    },
    files={},
)
DATA = DataFacts(
    source="2 files (csv)",
    rows={"train": 800, "test": 400},
    quarantined=4,
    classes=(("tulip", {"train": 780, "test": 390}), ("rose", {"train": 20, "test": 10})),
    filled={"age": 17},
)
FACTS = CardFacts(MANIFEST, DATA, own_objects=())

CARD = Path(__file__).with_name("flowers_card.md").read_text()


def section(card, name):
    """The text below a heading."""
    return card.split(f"\n## {name}\n\n")[1].split("\n\n## ")[0].rstrip("\n")


def block(card, language):
    """The first command of a language."""
    return card.split(f"```{language}\n")[1].split("\n```")[0]


def changed(**values):
    return replace(FACTS, manifest=MANIFEST.model_copy(update=values))


def test_card_says_what_was_learned_how_well_and_how_it_is_called():
    assert model_card(FACTS) == CARD


def test_card_of_a_model_that_was_never_tested_says_so():
    data = replace(DATA, rows={"train": 9}, classes=(), filled={})
    facts = CardFacts(
        MANIFEST.model_copy(update={"metrics": {}, "evaluated_rows": None, "slices": ()}), data, ()
    )
    card = model_card(facts)
    assert section(card, "Metrics").startswith("It was never evaluated: `shardline evaluate`")
    assert section(card, "Slices").startswith("None were measured: there are no held-out rows")
    assert "No rows were held out" in section(card, "Limits")
    assert "class" not in section(card, "Data")


def test_card_of_a_number_and_of_many_classes():
    price = changed(label=Label(name="price", dtype="float32"))
    assert "Predicts `price`, a number (float32), from 6 inputs." in model_card(price)
    many = changed(label=Label(name="k", dtype="int64", vocabulary=tuple(map(str, range(99)))))
    assert (
        "one of 99 classes (`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, `9` and 89 more), from"
        in model_card(many)
    )


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        (None, "sha256 `ff`, not in git"),
        (CodeRevision(commit="1f", dirty=False), "sha256 `ff`, git commit `1f` |"),
    ],
)
def test_card_names_the_commit_if_there_is_one(revision, words):
    lineage = MANIFEST.lineage.model_copy(update={"code_revision": revision})
    assert words in section(model_card(changed(lineage=lineage)), "Where it comes from")


def test_card_shows_names_that_look_like_markup_as_they_are():
    name = "a|b `c`\n# <script>"
    column = Column(name=name, dtype="float32")
    card = model_card(changed(inputs=(column,), seen={}, example={name: 1.0}))
    assert "| `` a\\|b `c` # <script> `` | float32 |" in card
    assert "  # a|b `c` # <script>\n" in card
    assert "\n# <script>" not in card
    assert code(" ") == '`""`'


def test_card_has_a_command_that_sends_the_example_and_does_not_show_it(tmp_path, monkeypatch):
    example = MANIFEST.example | {"city": "d'\"Isère `$(exit 9)`"}
    facts = changed(example=example)
    assert "Isère" not in model_card(facts)
    (tmp_path / "model.json").write_text(facts.manifest.model_dump_json())
    (tmp_path / "curl").write_text('#!/bin/sh\ncase "$2" in @*) cat "${2#@}";; *) echo "$2";; esac')
    (tmp_path / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    command = block(model_card(facts), "sh")
    sent = subprocess.run(
        ["sh", "-e", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(sent) == {"instances": [example]}
    assert parse_predict(sent.encode(), INPUTS, max_rows=1).num_rows == 1
    assert shlex.split(command)[-1] == "http://localhost:8000/v1/models/flowers:predict"


def test_card_of_inputs_too_large_for_an_example_names_their_shapes():
    image = Column(name="image", dtype="float32", shape=(224, 224, 3))
    card = model_card(changed(inputs=(image,), seen={}, example=None))
    assert block(card, "sh") == "curl -d @rows.json http://localhost:8000/v1/models/flowers:predict"
    assert "nested lists of these shapes: `image` [224, 224, 3]." in card


def test_card_names_what_keras_has_to_be_given():
    own = (
        OwnObject("model", "Squash", "mine>Squash"),
        OwnObject("parts.losses", "ordinal", "ordinal"),
    )
    card = model_card(replace(FACTS, own_objects=own))
    assert card.split("```python\n")[2].split("\n```")[0] == (
        "import keras\nfrom model import Squash\nfrom parts.losses import ordinal\n\n"
        'model = keras.models.load_model("model.keras", custom_objects={"mine>Squash": Squash, '
        '"ordinal": ordinal})'
    )
    card = model_card(replace(FACTS, own_objects=(OwnObject("builtins", LAMBDA, LAMBDA),)))
    assert (
        "# It holds a Python lambda, which runs when it is loaded and called.\n"
        'model = keras.models.load_model("model.keras", safe_mode=False)'
    ) in card
