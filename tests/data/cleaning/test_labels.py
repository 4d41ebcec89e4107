import pyarrow as pa
import pytest

from shardline.data.cleaning.labels import mapped


@pytest.mark.parametrize(
    ("values", "names", "others", "expected", "unmapped"),
    [
        (["cat", "dog", "eel", None], {"cat": "pet", "dog": "pet"}, "quarantine",
         ["pet", "pet", None, None], [False, False, True, False]),
        (["cat", "eel", None], {"cat": "pet"}, "keep", ["pet", "eel", None], [False] * 3),
        (["Y", "N", None], {"Y": 1, "N": 0}, "quarantine", [1, 0, None], [False] * 3),
        (["Y", "N"], {"Y": 1}, "keep", ["1", "N"], [False] * 2),
        ([1, 2, None], {"1": "one"}, "quarantine", ["one", None, None], [False, True, False]),
        ([1, 2, None], {"1": 7}, "keep", [7, 2, None], [False] * 3),
        ([1, 2], {"1": 7.5}, "keep", [7.5, 2.0], [False] * 2),
        ([True, False], {"true": "yes", "false": "no"}, "quarantine", ["yes", "no"], [False] * 2),
        ([1.0, 2.5], {"1": 3, "2.5": 4}, "quarantine", [3, 4], [False] * 2),
    ],
)  # fmt: skip
def test_mapped_gives_new_names(values, names, others, expected, unmapped):
    found = mapped(pa.array(values), names, others=others)
    assert found.values.to_pylist() == expected
    assert found.unmapped.tolist() == unmapped


def test_mapped_bytes_that_are_no_text_have_no_name():
    found = mapped(pa.array([b"a", b"\xff", None]), {"a": "b"}, others="quarantine")
    assert found.values.to_pylist() == ["b", None, None]
    assert found.unmapped.tolist() == [False, True, False]


def test_mapped_chains_are_not_followed():
    found = mapped(pa.array(["a", "b"]), {"a": "b", "b": "a"}, others="quarantine")
    assert found.values.to_pylist() == ["b", "a"]
    assert found.num_mapped == 2
