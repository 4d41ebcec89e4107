"""Buckets of gradients."""

from hypothesis import given
from hypothesis import strategies as st

from shardline.data.reused_memory import ALIGNMENT
from shardline.training.replicas.buckets import packed_layout, plan_buckets


def test_plan_buckets_follows_the_backward_pass_and_packs_small_tensors():
    sizes = [900, 4, 800, 4, 4, 4]
    kinds = ["float32"] * 6
    assert plan_buckets(sizes, kinds, large_bytes=500, pack_bytes=10) == [
        (5, 4, 3),
        (2,),
        (0,),
        (1,),
    ]


def test_plan_buckets_keeps_dtypes_apart():
    assert plan_buckets([4, 4, 4], ["float32", "float16", "float32"]) == [(2, 0), (1,)]


@given(
    sizes=st.lists(st.integers(0, 100), max_size=30),
    large=st.integers(1, 100),
    pack=st.integers(1, 100),
)
def test_plan_buckets_has_every_tensor_once(sizes, large, pack):
    kinds = ["float32" if size % 3 else "bfloat16" for size in sizes]
    buckets = plan_buckets(sizes, kinds, large_bytes=large, pack_bytes=pack)
    assert sorted(index for bucket in buckets for index in bucket) == list(range(len(sizes)))
    assert all(len({kinds[index] for index in bucket}) == 1 for bucket in buckets)
    assert all(len(bucket) == 1 or max(sizes[i] for i in bucket) < large for bucket in buckets)


@given(sizes=st.lists(st.integers(0, 100), min_size=1), itemsize=st.sampled_from([1, 2, 4, 8]))
def test_packed_layout_aligns_and_does_not_overlap(sizes, itemsize):
    starts, end = packed_layout(sizes, itemsize)
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    assert all(start * itemsize % ALIGNMENT == 0 for start in starts)
    assert all(before <= after for before, after in zip(ends, [*starts[1:], end], strict=True))
