import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.cleaning.text import normalised
from shardline.spec.cleaning import TextRule

# Arrow and Python may know different versions of Unicode.
assigned = st.text(st.characters(exclude_categories=["Cs", "Cn", "Co"]), max_size=8)
rules = st.builds(
    TextRule,
    unicode=st.sampled_from([None, "NFC", "NFKC"]),
    strip=st.booleans(),
    whitespace=st.sampled_from(["collapse", "remove"]),
    case=st.sampled_from([None, "lower", "upper"]),
)


def written(texts, **rule):
    return normalised(pa.array(texts, pa.string()), TextRule(**rule)).to_pylist()


@settings(deadline=None)
@given(st.lists(assigned | st.none(), max_size=8), rules)
def test_normalised_twice_is_normalised_once(texts, rule):
    once = normalised(pa.array(texts, pa.string()), rule)
    assert normalised(once, rule).equals(once)
    assert [t is None for t in once.to_pylist()] == [t is None for t in texts]


@settings(deadline=None)
@given(st.lists(assigned, max_size=8), st.sampled_from(["NFC", "NFKC"]))
def test_normalised_unicode_is_the_standard_form(texts, form):
    assert written(texts, unicode=form) == [unicodedata.normalize(form, t) for t in texts]


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ({"strip": True}, " \u00a0\u3000x y\t\n", "x y"),
        ({"whitespace": "collapse"}, " a\u00a0\t b\u2028\u0085c ", " a b c "),
        ({"whitespace": "remove"}, " a\u00a0\t b\u2028c ", "abc"),
        ({"case": "lower"}, "ÄÖ Straße", "äö straße"),
        ({"case": "upper"}, "äö", "ÄÖ"),
        ({"unicode": "NFC"}, "e\u0301", "é"),
        ({"unicode": "NFKC"}, "ﬁ①\u3000\uff21", "fi1 A"),
        ({"unicode": "NFC", "whitespace": "remove"}, "e \u0301", "é"),
    ],
)
def test_normalised_writes_as_the_rule_says(rule, before, after):
    assert written([before, None], **rule) == [after, None]
