"""The first import of TensorFlow and Keras in a process, without what no worker needs."""

import sys


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, unless the process has them already.

    Keras imports scikit-learn, where it is installed, for `keras.wrappers` alone (keras 3.15,
    `wrappers/fixes.py`), and takes its absence well: 3.4 s of processor time instead of 4.7 s, in
    every worker. Hidden for the import only: code of the user's finds it again.
    """
    if "tensorflow" in sys.modules:
        return
    hides = "sklearn" not in sys.modules
    if hides:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # Python's way to say "not there"
    try:
        import tensorflow  # noqa: F401
    finally:
        if hides:
            del sys.modules["sklearn"]
