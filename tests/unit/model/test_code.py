"""Collecting a builder's code without importing it, and importing it elsewhere."""

import pytest

from shardline.errors import ModelError
from shardline.model.code import collect_code, load_attribute, load_builder
from shardline.spec import check_spec


@pytest.fixture
def spec_at(tmp_path):
    def make(builder="model:build"):
        values = {
            "name": "toy",
            "store": "store",
            "data": {
                "source": {"format": "csv", "path": "x.csv"},
                "label": {"name": "y", "dtype": "float32"},
            },
            "model": {"builder": builder},
        }
        return check_spec(values, where="test").located_at(tmp_path)

    return make


def test_collect_takes_imported_local_modules_and_nothing_else(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("import layers\nfrom parts.head import top\ndef build(f): 0")
    (tmp_path / "layers.py").write_text("import os")
    (tmp_path / "unrelated.py").write_text("1/0")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").write_text("")
    (tmp_path / "parts/head.py").write_text("from . import size\ntop = size.n")
    (tmp_path / "parts/size.py").write_text("n = 3")
    code = collect_code(spec_at())
    assert [path for path, _ in code.files] == [
        "layers.py", "model.py", "parts/__init__.py", "parts/head.py", "parts/size.py",
    ]  # fmt: skip


def test_digest_changes_with_the_code(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("def build(f): return 1")
    before = collect_code(spec_at()).digest
    (tmp_path / "model.py").write_text("def build(f): return 2")
    assert collect_code(spec_at()).digest != before


def test_load_builder_same_module_name_with_other_code_is_the_other_code(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("def build(f): return 1")
    first = load_builder(collect_code(spec_at()))
    (tmp_path / "model.py").write_text("def build(f): return 2")
    second = load_builder(collect_code(spec_at()))
    assert (first(None), second(None)) == (1, 2)


def test_load_builder_that_imports_when_called_finds_its_modules(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("def build(f):\n    from layers import top\n    return top")
    (tmp_path / "layers.py").write_text("top = 7")
    assert load_builder(collect_code(spec_at()))(None) == 7


def test_load_builder_from_a_changed_package_is_the_changed_one(spec_at, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/__init__.py").write_text("def build(f): return 1")
    first = load_builder(collect_code(spec_at("net:build")))
    (tmp_path / "net/__init__.py").write_text("def build(f): return 2")
    second = load_builder(collect_code(spec_at("net:build")))
    assert (first(None), second(None)) == (1, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no model.py in"),
        ("def other(): 0", "the module defines no 'build'; it has other"),
        ("def build(:", "model.py line 1 is not Python"),
    ],
)
def test_collect_malformed_module_is_refused(spec_at, tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "model.py").write_text(text)
    with pytest.raises(ModelError) as caught:
        collect_code(spec_at("model:build" if text else "no_such_model:build"))
    assert sentence.replace("model.py", "no_such_model.py" if text is None else "model.py") in (
        caught.value.message
    )


def test_load_builder_failing_import_names_the_error(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("import no_such_package\ndef build(f): 0")
    with pytest.raises(ModelError, match=r"does not import: ModuleNotFoundError: .*no_such"):
        load_builder(collect_code(spec_at()))


def test_collect_function_is_the_builder_itself(spec_at):
    def build(features):
        return features

    code = collect_code(spec_at(build))
    assert load_builder(code) is build
    assert len(code.digest) == 64


def test_collect_takes_the_users_callbacks_and_what_they_import(spec_at, tmp_path):
    (tmp_path / "model.py").write_text("def build(f): return 1")
    (tmp_path / "watch.py").write_text("import shared\nclass Watch: pass")
    (tmp_path / "shared.py").write_text("")
    spec = spec_at()
    callbacks = [{"name": "watch:Watch"}, {"name": "EarlyStopping"}]
    with_callbacks = check_spec(
        {**spec.model_dump(mode="json"), "train": {"callbacks": callbacks}}, where="test"
    ).located_at(tmp_path)
    code = collect_code(with_callbacks)
    assert [path for path, _ in code.files] == ["model.py", "shared.py", "watch.py"]
    assert code.digest != collect_code(spec).digest
    assert load_attribute(code, "watch:Watch", key="train.callbacks").__name__ == "Watch"
    builder = load_builder(code)
    load_attribute(code, "watch:Watch", key="train.callbacks")
    assert load_attribute(code, "model:build", key="train.callbacks") is builder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("watch:Wacth", r"train\.callbacks 'watch:Wacth': the module defines no 'Wacth'; it has W"),
        ("no_such:Watch", r"train\.callbacks 'no_such:Watch': there is no no_such\.py in .*"),
    ],
)
def test_collect_names_the_callback_that_is_not_there(spec_at, tmp_path, name, sentence):
    (tmp_path / "model.py").write_text("def build(f): return 1")
    (tmp_path / "watch.py").write_text("class Watch: pass")
    values = {**spec_at().model_dump(mode="json"), "train": {"callbacks": [{"name": name}]}}
    with pytest.raises(ModelError, match=sentence):
        collect_code(check_spec(values, where="test").located_at(tmp_path))
