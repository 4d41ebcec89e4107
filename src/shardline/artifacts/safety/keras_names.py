"""What a Keras config may name: Keras's own layers, functions and other parts, none of them code.

Everything else needs Python that is not in Keras, or is a part of Keras that runs what the config
brings along, reads files or imports other packages.
"""

from typing import Any

# Public layers of Keras 3.15 without `RUNS_CODE`; one of a later Keras is refused until it has been
# looked at.
_LAYERS = """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CategoryEncoding
    CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose
    Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D
    Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot
    Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention GroupedQueryAttention HashedCrossing Hashing Identity InputLayer
    IntegerLookup LSTM LSTMCell Layer LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast
    RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
    RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector
    Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D
    SeparableConv2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup
    Subtract TextVectorization TimeDistributed UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
LAYERS = frozenset(_LAYERS.split())

RUNS_CODE = frozenset({
    # Keras 3: functions as bytecode, a SavedModel or a pickled module from a path
    "Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer",
    # Keras 2: any operation or function of TensorFlow by its name
    "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod",
    "InstanceProperty",
})  # fmt: skip

# Of Keras's own applications.
OTHER_LAYERS = frozenset({
    ("keras.src.applications.convnext", "LayerScale"),
    ("keras.src.applications.convnext", "StochasticDepth"),
    ("keras.src.applications.inception_resnet_v2", "CustomScaleLayer"),
})  # fmt: skip

# What a config spells values with.
VALUES = frozenset({
    "__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__",
    "__tuple__", "TensorShape",
})  # fmt: skip

ROOT_CLASSES = frozenset({
    "Functional", "Model", "Sequential", "DTypePolicy", "FloatDTypePolicy",
})  # fmt: skip

# Parts without any way to a file or to code.
PARTS = (
    "activations", "constraints", "dtype_policies", "initializers", "losses", "metrics", "ops",
    "optimizers", "quantizers", "random", "regularizers",
)  # fmt: skip

FUNCTION_PARTS = ("activations", "constraints", "initializers", "losses", "metrics", "ops",
                  "regularizers")  # fmt: skip


def is_allowed_class(module: str | None, name: str) -> bool:
    """Whether a config may make an object of this class."""
    # `__typespec__` names a class of any module of TensorFlow.
    if not name.isidentifier() or name in RUNS_CODE or name == "__typespec__":
        return False
    if module is None:  # as Keras 2 wrote it: looked up among Keras's own parts alone
        return True
    if module == "keras":
        return name in ROOT_CLASSES
    if (module, name) in OTHER_LAYERS:
        return True
    path = _public_path(module)
    if path.partition(".")[0] == "layers":
        return name in LAYERS
    if path.partition(".")[0] == "models":
        return name in ROOT_CLASSES
    return path.partition(".")[0] in PARTS


def is_allowed_function(module: str | None, name: Any) -> bool:
    """Whether a config may hand this function to a layer."""
    if not isinstance(name, str) or not name.isidentifier():
        return False
    # Without a module Keras looks in its own parts alone.
    return (
        module in (None, "builtins")
        or _public_path(str(module)).partition(".")[0] in FUNCTION_PARTS
    )


def _public_path(module: str) -> str:
    """`layers.core.dense` of `keras.src.layers.core.dense`; empty when it is not Keras's."""
    for prefix in ("keras.src.", "keras."):
        if module.startswith(prefix):
            return module.removeprefix(prefix)
    return ""
