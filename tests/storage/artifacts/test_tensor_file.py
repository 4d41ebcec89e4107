"""The bytes of a tensor file, held against the safetensors library."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from shardline.artifacts.shares import share_of
from shardline.artifacts.tensor_file import TensorFile, item_size, read_tensor_file
from shardline.errors import ModelError

DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint32", "uint8", "int8", "bool"]


def filled(tensors):
    file = TensorFile()
    file.fill(tensors)
    return file


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(deadline=None, max_examples=40)
@given(tensors=st.dictionaries(st.text(max_size=8).filter(lambda n: n != "__metadata__"), arrays))
def test_file_any_tensors_is_read_by_the_library_and_reads_the_librarys(tensors):
    for found in (load(bytes(filled(tensors).data)), read_tensor_file(save(tensors))):
        assert found.keys() == tensors.keys()
        for name, array in tensors.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_file_half_precision_of_both_kinds_comes_back():
    tensors = {
        "b": np.array([1.5, -2.0], ml_dtypes.bfloat16),
        "f": np.array([0.5], ml_dtypes.float8_e4m3fn),
        "wide": np.arange(3.0),
    }
    found = read_tensor_file(bytes(filled(tensors).data))
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert (item_size("bfloat16"), item_size("float8_e4m3fn"), item_size("float32")) == (2, 1, 4)


def test_file_filled_again_with_less_holds_only_that():
    file = filled({"a": np.arange(1000.0), "b": np.zeros(3)})
    file.fill({"b": np.ones(2, "float32")})
    found = load(bytes(file.data))
    assert list(found) == ["b"]
    np.testing.assert_array_equal(found["b"], [1, 1])


def test_file_with_text_names_the_variable():
    with pytest.raises(ModelError, match=r"variable 'model/x' is of dtype str\d*, which no check"):
        filled({"model/x": np.array(["word"])})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16])
def test_non_finite_tensor_is_named_wherever_it_hides(bad, dtype):
    array = np.ones((300, 500), dtype)
    array[-1, -1] = bad
    file = filled({"m/a": np.ones(3), "m/b": array, "x": array, "m/count": np.arange(3)})
    assert file.first_non_finite(prefixes=("m/",)) == "m/b"
    assert file.first_non_finite(prefixes=("x", "m/a")) == "x"
    assert file.first_non_finite(prefixes=("m/a", "m/count")) is None


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 10**9), max_size=40),
    world_size=st.integers(1, 9),
)
def test_shares_hold_every_tensor_once_and_are_balanced(sizes, world_size):
    shares = [share_of(sizes, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(name for share in shares for name in share) == sorted(sizes)
    loads = [sum(sizes[name] for name in share) for share in shares]
    largest = max(sizes.values(), default=0)
    assert max(loads) - min(loads) <= largest
