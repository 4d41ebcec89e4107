"""How large the parts of a model may be, and why so large.

A few bytes can declare a shape of terabytes. Each limit is several times what the largest models
need that one machine serves, and small enough that reading up to it cannot end the process.
"""

MIB = 1 << 20
GIB = 1 << 30

MAX_GRAPH_FILE_BYTES = 512 * MIB
"""`saved_model.pb` holds no weights, but vocabularies: ten million words are 150 MB. Protocol
buffers themselves end at 2 GiB, and their parsed form is several times larger."""

MAX_NODES = 2_000_000
"""Operations of a graph with its functions; a transformer of 48 layers has some 20,000."""

MAX_UNSTORED_CONSTANT_BYTES = 256 * MIB
"""All constants together, beyond the bytes that the graph holds of them: a constant may repeat its
only value to any shape, as `tf.zeros` does."""

MAX_FILES = 10_000
"""Files of a SavedModel, or members of a `.keras` file: assets are one each."""

MAX_ARCHIVE_BYTES = 64 * GIB
"""Members of a `.keras` file as they would be unpacked."""

MAX_MEMBER_EXPANSION = 100
"""Keras stores members as they are, and weights hardly shrink. Deflate reaches 1,032."""

MIN_BOMB_BYTES = 64 * MIB
"""Less than this is no bomb, however small it is stored: zeros shrink well."""

MAX_CONFIG_BYTES = 256 * MIB
"""`config.json`, with vocabularies: see `saved_model.pb`."""

MAX_CONFIG_DEPTH = 200
"""Brackets inside each other: about four per level of nested models."""

MAX_DIMENSION = 1 << 31
"""One dimension of a shape, or the size of a layer: no kernel takes more."""

MAX_UNSTORED_WEIGHT_BYTES = GIB
"""What the layers of a config would allocate beyond eight times the size of the file: weights that
were saved are in the file, in at least a byte each; the factor is for estimates that are too
large."""

MAX_ESTIMATE_RATIO = 8

MAX_HDF5_OBJECTS = 1_000_000
"""Groups and arrays of an HDF5 file; a transformer of 48 layers has some 3,000."""

MAX_HDF5_DEPTH = 100
"""Groups inside each other: two or three per level of nested models."""

MAX_ATTRIBUTE_BYTES = 256 * MIB
"""One attribute of an HDF5 file; a legacy file has the whole config in one."""
