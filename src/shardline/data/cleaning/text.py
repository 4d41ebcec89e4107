"""How text is written: one Unicode form, one case, blanks where they belong."""

import pyarrow as pa
import pyarrow.compute as pc

from shardline.spec.cleaning import TextRule

# \s knows only ASCII's; \p{Z} are Unicode's separators.
BLANKS = r"[\s\p{Z}\x{0085}]+"


def normalised(texts: pa.Array, rule: TextRule) -> pa.Array:
    """Texts written as the rule says; nulls stay.

    Args:
        texts: Of type string or large_string.
        rule: The rule.
    """
    # Each different text once: in most columns they repeat, and a rewrite takes a microsecond.
    encoded = texts.dictionary_encode()
    return _rewritten(encoded.dictionary, rule).take(encoded.indices)


def _rewritten(texts: pa.Array, rule: TextRule) -> pa.Array:
    # The Unicode form comes first, as NFKC makes plain blanks and letters of wide ones, and last,
    # as a changed case or a blank taken away may bring together what that form joins.
    if rule.unicode:
        texts = pc.utf8_normalize(texts, rule.unicode)
    if rule.case:
        texts = pc.utf8_lower(texts) if rule.case == "lower" else pc.utf8_upper(texts)
    if rule.whitespace:
        blank = " " if rule.whitespace == "collapse" else ""
        texts = pc.replace_substring_regex(texts, BLANKS, blank)
    if rule.strip:
        texts = pc.utf8_trim_whitespace(texts)
    return pc.utf8_normalize(texts, rule.unicode) if rule.unicode else texts
