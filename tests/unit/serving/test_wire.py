"""Request bodies to arrays and arrays to answers: no Ray, no TensorFlow."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.image_files import bomb, encoded, samples

from shardline.data.decoding import decoded_image
from shardline.data.schema import Column
from shardline.serving.refusals import MalformedRequestError
from shardline.serving.wire import encode_error, encode_predictions, parse_predict

AGE = Column(name="age", dtype="int32")
WEIGHT = Column(name="weight", dtype="float32")
IMAGE = Column(name="image", dtype="uint8", shape=(2, 2, 1))
CITY = Column(name="city", dtype="string")
MEMBER = Column(name="member", dtype="bool")
ROW = (AGE, WEIGHT, CITY)


def parse(document, inputs, *, max_rows=8):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_predict(body, inputs, max_rows=max_rows)


def refusal(document, inputs, *, max_rows=8):
    with pytest.raises(MalformedRequestError) as caught:
        parse(document, inputs, max_rows=max_rows)
    assert caught.value.status == 400
    return caught.value.message


def test_instances_of_objects_become_columns_with_rows_first():
    request = parse(
        {"instances": [{"age": 3, "weight": 1.5, "city": "Bonn"}, {"city": "Köln", "age": 4,
                                                                 "weight": 2}]},
        ROW,
    )  # fmt: skip
    assert (request.num_rows, request.form) == (2, "instances")
    assert request.columns["age"].tolist() == [[3], [4]]
    assert request.columns["age"].dtype == np.int32
    assert request.columns["weight"].tolist() == [[1.5], [2.0]]
    assert request.columns["weight"].dtype == np.float32
    assert request.columns["city"].tolist() == [["Bonn"], ["Köln"]]


def test_inputs_of_columns_give_the_same_arrays_as_instances():
    rows = parse({"instances": [{"age": 1, "weight": 2, "city": "a"}]}, ROW)
    columns = parse({"inputs": {"age": [1], "weight": [[2]], "city": ["a"]}}, ROW)
    assert columns.form == "inputs"
    assert {k: v.tolist() for k, v in columns.columns.items()} == {
        k: v.tolist() for k, v in rows.columns.items()
    }


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [1, [2]]},
        {"instances": [{"age": 1}, {"age": [2]}]},
        {"inputs": [1, 2]},
        {"inputs": {"age": [[1], [2]]}},
        {"signature_name": "serving_default", "instances": [1, 2]},
    ],
)
def test_single_scalar_input_may_be_bare_in_a_list_or_unnamed(document):
    assert parse(document, (AGE,)).columns["age"].tolist() == [[1], [2]]


def test_tensor_column_keeps_its_shape():
    request = parse({"instances": [[[[1], [2]], [[3], [4]]]]}, (IMAGE,))
    assert request.columns["image"].shape == (1, 2, 2, 1)
    assert request.columns["image"].dtype == np.uint8


def test_b64_strings_become_bytes():
    encoded = base64.b64encode(b"\xff\x00").decode()
    request = parse({"instances": [{"b64": encoded}, "plain"]}, (CITY,))
    assert request.columns["city"].tolist() == [[b"\xff\x00"], ["plain"]]


def test_non_finite_tokens_are_taken_for_floats():
    request = parse(b'{"instances": [NaN, Infinity, -Infinity]}', (WEIGHT,))
    np.testing.assert_array_equal(request.columns["weight"], [[np.nan], [np.inf], [-np.inf]])


@pytest.mark.parametrize(
    ("document", "inputs", "sentence"),
    [
        (b"{", (AGE,), "the body is not valid JSON: "),
        (b"", (AGE,), "the body is not valid JSON: "),
        (b'{"instances": [NaN}', (WEIGHT,), "the body is not valid JSON: "),
        ([1], (AGE,), "the body is a list; send a JSON object with 'instances' or 'inputs'."),
        ({}, (AGE,), "the body has neither 'instances' nor 'inputs'; send one."),
        (
            {"instances": [1], "inputs": [1]},
            (AGE,),
            "the body has both 'instances' and 'inputs'; send one.",
        ),
        (
            {"instance": [1]},
            (AGE,),
            "unknown key 'instance' in the body (did you mean 'instances'?); it takes 'instances' "
            "or 'inputs', and 'signature_name'.",
        ),
        (
            {"signature_name": "other", "instances": [1]},
            (AGE,),
            "signature_name is 'other'; this model has only 'serving_default'.",
        ),
        ({"instances": 7}, (AGE,), "'instances' is an integer; send a list with one element per "),
        ({"inputs": 7}, (AGE,), "column 'age' in 'inputs' is an integer; send a list with one "),
        ({"inputs": [1]}, ROW, "'inputs' is a list; send an object with the keys 'age', "),
        ({"instances": [1]}, ROW, "row 0 of 'instances' is an integer; send an object with the "),
        (
            {"instances": [{"age": 1}, 2]},
            (AGE,),
            "row 1 of 'instances' is an integer; send an object with the keys 'age'.",
        ),
        (
            {"instances": [{"agee": 1, "weight": 1, "city": "a"}]},
            ROW,
            "row 0 of 'instances' has the unknown column 'agee' (did you mean 'age'?); the model "
            "takes 'age', 'weight', 'city'.",
        ),
        (
            {"inputs": {"age": [1], "city": ["a"]}},
            ROW,
            "'inputs' lacks the column 'weight'; the model takes 'age', 'weight', 'city'.",
        ),
        (
            {"inputs": {"age": [1, 2], "weight": [1], "city": ["a", "b"]}},
            ROW,
            "column 'weight' has 1 rows and column 'age' has 2; every column needs the same "
            "number.",
        ),
        ({"instances": []}, (AGE,), "the request has no rows; send at least one."),
        ({"inputs": {"age": []}}, (AGE,), "the request has no rows; send at least one."),
        (
            {"instances": [1] * 9},
            (AGE,),
            "the request has 9 rows; this endpoint takes at most 8 at a time.",
        ),
        (
            {"instances": [1, 2.5]},
            (AGE,),
            "column 'age', row 1: got a number (2.5), expected int32.",
        ),
        (
            {"instances": [True]},
            (AGE,),
            "column 'age', row 0: got a boolean (True), expected int32.",
        ),
        (
            {"instances": [True]},
            (WEIGHT,),
            "column 'weight', row 0: got a boolean (True), expected float32.",
        ),
        (
            {"instances": [None]},
            (WEIGHT,),
            "column 'weight', row 0: got null (None), expected float32.",
        ),
        (
            {"instances": ["3"]},
            (AGE,),
            "column 'age', row 0: got a string ('3'), expected int32.",
        ),
        (
            {"instances": [1]},
            (MEMBER,),
            "column 'member', row 0: got an integer (1), expected bool.",
        ),
        (
            {"instances": [3_000_000_000]},
            (AGE,),
            "column 'age', row 0: got an integer (3000000000), expected an integer from "
            "-2147483648 to 2147483647.",
        ),
        (
            {"instances": [0, 1e39]},
            (WEIGHT,),
            "column 'weight', row 1: got a number (1e+39), expected a float32 of at most "
            "±3.40282e+38.",
        ),
        (
            {"instances": [5]},
            (CITY,),
            "column 'city', row 0: got an integer (5), expected string.",
        ),
        (
            {"instances": ["a", {"b64": "not base64!"}]},
            (CITY,),
            "column 'city', row 1: got an object ({'b64': 'not base64!'}), expected a string or "
            '{"b64": "base64 text"}.',
        ),
        (
            {"instances": [[[[1], [2]], [[3], [4]]], [[[1], [2]]]]},
            (IMAGE,),
            "column 'image', row 1: got shape [1, 2, 1], expected shape [2, 2, 1].",
        ),
        (
            {"instances": [[[[1], [2]], [[3]]]]},
            (IMAGE,),
            "column 'image', row 0: got ragged lists, expected shape [2, 2, 1].",
        ),
        (
            {"instances": [[[1, 2], [3, 4]]]},
            (IMAGE,),
            "column 'image', row 0: got shape [2, 2], expected shape [2, 2, 1].",
        ),
        ({"instances": [[1, 2]]}, (AGE,), "column 'age', row 0: got shape [2], expected shape []."),
        (
            {"instances": [[[[256], [2]], [[3], [4]]]]},
            (IMAGE,),
            "column 'image', row 0: got an integer (256), expected an integer from 0 to 255.",
        ),
    ],
)  # fmt: skip
def test_malformed_body_is_refused_with_its_own_sentence(document, inputs, sentence):
    assert refusal(document, inputs).startswith(sentence)


def test_integer_too_large_for_a_float_is_refused():
    body = b'{"instances": [NaN, 1' + b"0" * 400 + b"]}"
    assert "column 'weight', row 1: got an integer (1000" in refusal(body, (WEIGHT,))


def test_deeply_nested_body_is_refused_without_recursion():
    assert "expected shape []" in refusal(
        b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", (AGE,)
    )
    assert "not valid JSON" in refusal(b'{"instances": ' + b"[" * 50_000, (AGE,))
    assert "not valid JSON" in refusal(b'{"NaN": ' + b"[" * 50_000, (AGE,))


def columns_of(answers):
    """Output columns that fit the arrays; a last dimension of 1 alone is a scalar's."""
    return [
        Column(
            name=name,
            dtype="string" if array.dtype == object else array.dtype.name,
            shape=() if array.shape[1:] == (1,) else array.shape[1:],
        )
        for name, array in answers.items()
    ]


def answer(form, **answers):
    return json.loads(encode_predictions(answers, columns_of(answers), form=form))


def test_single_output_is_answered_without_its_name():
    degrees = np.array([[212.0], [32.0]], np.float32)
    assert answer("instances", degrees=degrees) == {"predictions": [212.0, 32.0]}
    assert answer("inputs", degrees=degrees) == {"outputs": [212.0, 32.0]}


def test_single_output_of_shape_one_keeps_its_dimension():
    body = encode_predictions(
        {"x": np.ones((2, 1), np.float32)},
        [Column(name="x", dtype="float32", shape=(1,))],
        form="instances",
    )
    assert json.loads(body) == {"predictions": [[1.0], [1.0]]}


def test_several_outputs_are_answered_by_name():
    answers = {
        "probabilities": np.array([[0.25, 0.75], [1, 0]], np.float32),
        "class": np.array([["dog"], ["cat"]], object),
        "index": np.array([[1], [0]]),
    }
    assert answer("instances", **answers) == {
        "predictions": [
            {"probabilities": [0.25, 0.75], "class": "dog", "index": 1},
            {"probabilities": [1.0, 0.0], "class": "cat", "index": 0},
        ]
    }
    assert answer("inputs", **answers)["outputs"]["class"] == ["dog", "cat"]


def test_answer_with_nan_uses_the_token_and_bytes_use_b64():
    decoded = answer(
        "inputs",
        x=np.array([[np.nan], [np.inf]], np.float32),
        raw=np.array([[b"\xff"], [b"a"]], object),
    )["outputs"]
    assert np.isnan(decoded["x"][0])
    assert decoded["x"][1] == np.inf
    assert decoded["raw"] == [{"b64": "/w=="}, "a"]


def test_strided_answer_is_encoded_as_its_values():
    wide = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert answer("instances", x=wide[:, ::2]) == {"predictions": [[0, 2], [4, 6]]}


def test_error_is_encoded_in_tensorflow_servings_form():
    assert json.loads(encode_error('no "model"')) == {"error": 'no "model"'}


numbers = {
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "int8": st.integers(-128, 127),
    "uint64": st.integers(0, 2**64 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "string": st.text('aé\n"\u2028😀\0', max_size=5),
}


@st.composite
def requests(draw):
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    num_rows = draw(st.integers(1, 4))
    inputs, values = [], {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(numbers)))
        shape = draw(st.sampled_from([(), (1,), (3,), (2, 2), (1, 2, 1)]))
        column = Column(name=name, dtype=dtype, shape=shape)
        size = num_rows * int(np.prod(shape or (1,)))
        flat = draw(st.lists(numbers[dtype], min_size=size, max_size=size))
        array = np.array(flat, dtype=column.numpy_dtype).reshape(num_rows, *(shape or (1,)))
        inputs.append(column)
        values[name] = array
    return inputs, values, num_rows


@given(requests(), st.sampled_from(["instances", "inputs"]))
def test_values_sent_in_either_form_arrive_as_they_were(request_, form):
    inputs, values, num_rows = request_
    if form == "inputs":
        content = {name: array.tolist() for name, array in values.items()}
    else:
        content = [
            {name: array[row].tolist() for name, array in values.items()} for row in range(num_rows)
        ]
    parsed = parse_predict(json.dumps({form: content}).encode(), inputs, max_rows=4)
    assert parsed.num_rows == num_rows
    for column in inputs:
        received = parsed.columns[column.name]
        assert received.dtype == values[column.name].dtype
        np.testing.assert_array_equal(received, values[column.name])


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["age", "city", "image", "b64", "x"]), inner, max_size=3),
    max_leaves=12,
), st.sampled_from(["instances", "inputs"]))  # fmt: skip
def test_any_json_is_either_parsed_or_refused(content, form):
    for inputs in [(AGE,), (CITY,), (IMAGE,), (AGE, CITY)]:
        try:
            request = parse({form: content}, inputs)
        except MalformedRequestError:
            continue
        assert set(request.columns) == {column.name for column in inputs}


@given(requests(), st.sampled_from(["instances", "inputs"]))
def test_answers_decode_to_what_the_model_said(request_, form):
    outputs, answers, num_rows = request_
    decoded = json.loads(encode_predictions(answers, outputs, form=form))
    for column in outputs:
        if form == "inputs":
            received = decoded["outputs"]
            received = received if len(outputs) == 1 else received[column.name]
        else:
            rows = decoded["predictions"]
            received = rows if len(outputs) == 1 else [row[column.name] for row in rows]
        assert len(received) == num_rows
        sent = answers[column.name].reshape(num_rows, *column.shape)
        np.testing.assert_array_equal(np.array(received, dtype=sent.dtype), sent)


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


PICTURE = Column(name="image", dtype="uint8", shape=(3, 4, 3), encoded=True)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda rows: {"instances": rows},
        lambda rows: {"instances": [{"image": row} for row in rows]},
        lambda rows: {"inputs": rows},
        lambda rows: {"inputs": {"image": rows}},
    ],
)
def test_encoded_images_may_be_files_or_samples(wrapped):
    arrays = [samples(3, 4, seed=n) for n in range(3)]
    large = encoded(samples(30, 50))
    files = [b64(encoded(arrays[0])), b64(large), b64(encoded(arrays[1], "PNG"))]
    found = parse(wrapped(files), [PICTURE]).columns["image"]
    assert (found.shape, found.dtype) == ((3, 3, 4, 3), np.uint8)
    np.testing.assert_array_equal(found[0], arrays[0])
    np.testing.assert_array_equal(found[1], decoded_image(large, PICTURE))
    mixed = [arrays[2].tolist(), b64(encoded(arrays[0]))]
    np.testing.assert_array_equal(
        parse(wrapped(mixed), [PICTURE]).columns["image"], [arrays[2], arrays[0]]
    )
    plain = parse(wrapped([array.tolist() for array in arrays]), [PICTURE]).columns["image"]
    np.testing.assert_array_equal(plain, arrays)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (b64(b""), "row 1: image does not decode (it has no bytes)."),
        (b64(b"none"), "row 1: image does not decode (it is no image that Pillow knows)."),
        (b64(bomb()), "row 1: image does not decode (DecompressionBombError: "),
        (
            {"b64": "ä"},
            'row 1: got an object, expected {"b64": "base64 text"} of an image file, or ',
        ),
        ({"b64": 3}, "row 1: got an object, expected"),
        ({"url": "x"}, "row 1: got an object, expected"),
        ([[1]], "row 1: got shape [1, 1], expected shape [3, 4, 3]."),
    ],
)
def test_encoded_images_that_are_none_are_refused_with_their_row(row, sentence):
    good = b64(encoded(samples(3, 4)))
    message = refusal({"instances": [{"image": good}, {"image": row}]}, [PICTURE])
    assert message.startswith(f"column 'image', {sentence}")


def test_strings_that_are_no_base64_are_refused():
    message = refusal({"instances": [{"city": {"b64": "ä"}}]}, [CITY])
    assert message.endswith('expected a string or {"b64": "base64 text"}.')
