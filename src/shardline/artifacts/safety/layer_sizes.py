"""How much memory the layers of a Keras config would take, estimated from the text alone."""

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

SHAPE_KEYS = frozenset({
    "batch_input_shape", "batch_shape", "input_shape", "output_shape", "shape", "target_shape",
})  # fmt: skip

# Arguments that multiply the size of a layer's weights.
SIZE_KEYS = (
    "units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "depth_multiplier",
    "fft_length", "sequence_length", "num_mel_bins", "head_dim", "num_query_heads",
)  # fmt: skip

# Their weights do not grow with what they are called on.
WITHOUT_CHANNELS = frozenset({
    "Embedding", "MelSpectrogram", "ReversibleEmbedding", "STFTSpectrogram",
})  # fmt: skip
BYTES_PER_WEIGHT = 4


def dimensions(entry: dict[str, Any]) -> Iterator[int]:
    """All sizes that an object of the config names itself."""
    for key, value in entry.items():
        if key in SHAPE_KEYS or key in SIZE_KEYS:
            yield from _integers(value)


def shape_sizes(entry: dict[str, Any]) -> Iterator[int]:
    """Elements of the shapes that an object names, the batch left out."""
    for key in SHAPE_KEYS & entry.keys():
        if isinstance(entry[key], list):
            yield math.prod(_integers(entry[key]))


def built_channels(entry: dict[str, Any]) -> int | None:
    """Last dimension of what a layer was built for; None when it does not say."""
    shapes = entry.get("build_config")
    found = list(_last_dimensions(shapes)) if isinstance(shapes, dict) else []
    return max(found, default=None)


def weight_bytes(entry: dict[str, Any], *, channels: int) -> int:
    """About what a layer's weights take; too much rather than too little, 0 for what is none.

    Args:
        entry: A JSON object of the config.
        channels: Last dimension of what it is called on.
    """
    name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        return 0
    sizes: list[int] = [config[key] for key in SIZE_KEYS if _is_size(config.get(key))]
    if not sizes:
        return 0
    inputs = 1 if name in WITHOUT_CHANNELS else channels
    return math.prod(sizes) * inputs * _kernel_size(name, config) * BYTES_PER_WEIGHT


def _last_dimensions(value: Any) -> Iterator[int]:
    if isinstance(value, list):
        if value and _is_size(value[-1]):
            yield value[-1]
        for part in value:
            yield from _last_dimensions(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _last_dimensions(part)


def _kernel_size(name: str, config: dict[str, Any]) -> int:
    kernel = config.get("kernel_size")
    if _is_size(kernel):
        rank = next((int(letter) for letter in name if letter in "123"), 1)
        return math.prod([kernel] * rank)
    return math.prod(_integers(kernel)) if isinstance(kernel, list) else 1


def _integers(value: Any) -> Iterator[int]:
    if _is_size(value):
        yield value
    elif isinstance(value, list):
        for part in value:
            if _is_size(part):
                yield part


def _is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
