"""How much memory the layers of a Keras config would take, estimated from the text alone."""

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

Shape = list[Any]
"""As JSON has it: sizes, and null for what is open."""

SHAPE_KEYS = frozenset({
    "batch_input_shape", "batch_shape", "input_shape", "output_shape", "shape", "target_shape",
})  # fmt: skip

# Arguments that multiply the size of a layer's weights.
SIZE_KEYS = (
    "units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "depth_multiplier",
    "fft_length", "sequence_length", "num_mel_bins", "head_dim", "num_query_heads",
    "projection_dim",
)  # fmt: skip

# Their weights do not grow with what they are called on.
WITHOUT_CHANNELS = frozenset({
    "Embedding", "LayerScale", "MelSpectrogram", "ReversibleEmbedding", "STFTSpectrogram",
})  # fmt: skip

# Their weights are as many as their inputs have features, along `axis`.
PER_FEATURE = frozenset({
    "AdditiveAttention", "BatchNormalization", "GroupNormalization", "LayerNormalization",
    "Normalization", "RMSNormalization",
})  # fmt: skip
WEIGHTS_PER_FEATURE = 4
"""Scale, offset, mean and variance."""

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


def built_shapes(entry: dict[str, Any]) -> list[Shape]:
    """What a layer was built for, the batch first; empty when it does not say."""
    shapes = entry.get("build_config")
    return list(_shapes(shapes)) if isinstance(shapes, dict) else []


def weight_bytes(entry: dict[str, Any], *, shapes: list[Shape]) -> int:
    """About what a layer's weights take; too much rather than too little, 0 for what is none.

    Args:
        entry: A JSON object of the config.
        shapes: What it is called on, at most, the batch first; of one dimension at least.
    """
    name, config = entry.get("class_name"), entry.get("config")
    if not isinstance(name, str) or not isinstance(config, dict):
        return 0
    return max(_num_weights(name, config, shape) for shape in shapes) * BYTES_PER_WEIGHT


def _num_weights(name: str, config: dict[str, Any], shape: Shape) -> int:
    if name == "EinsumDense":
        return _einsum_weights(config, shape)
    if name == "PReLU":
        return math.prod(_without(shape, config.get("shared_axes")))
    if name in PER_FEATURE:
        return WEIGHTS_PER_FEATURE * math.prod(_along(shape, config.get("axis", -1)))
    sizes: list[int] = [config[key] for key in SIZE_KEYS if _is_size(config.get(key))]
    if not sizes:
        return 0
    inputs = 1 if name in WITHOUT_CHANNELS else math.prod(_integers(shape[-1:]))
    return math.prod(sizes) * inputs * _kernel_size(name, config)


def _along(shape: Shape, axis: Any) -> Iterator[int]:
    """Sizes of the named axes; all of them where the name is none of this shape."""
    axes = axis if isinstance(axis, list) else [axis]
    if all(isinstance(index, int) and -len(shape) <= index < len(shape) for index in axes):
        return _integers([shape[index] for index in axes])
    return _integers(shape[1:])


def _without(shape: Shape, axes: Any) -> Iterator[int]:
    shared = axes if isinstance(axes, list) else [axes]
    return _integers([size for index, size in enumerate(shape) if index and index not in shared])


def _einsum_weights(config: dict[str, Any], shape: Shape) -> int:
    """Size of a kernel whose axes are those of the input and of the output that it names."""
    equation, output = config.get("equation"), config.get("output_shape")
    if not isinstance(equation, str):
        return 0
    given, _, answer = equation.partition("->")
    given, _, kernel = given.partition(",")
    outputs = output if isinstance(output, list) else [output]
    if given.endswith("...") or answer.endswith("..."):
        return math.prod(_integers([*shape[1:], *outputs]))
    sizes = dict(zip(reversed(given), reversed(shape), strict=False))
    # A shape of fewer axes than the equation is a flattened one.
    whole = math.prod(_integers(shape)) if len(shape) < len(given.strip(".")) else 1
    stated = zip(reversed(answer), reversed(outputs), strict=False)
    sizes |= {label: size for label, size in stated if _is_size(size)}
    return whole * math.prod(_integers([sizes.get(label) for label in kernel]))


def _shapes(value: Any) -> Iterator[Shape]:
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, list) and any(map(_is_size, value)):
        yield value
    if isinstance(value, dict | list):
        for part in parts:
            yield from _shapes(part)


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
