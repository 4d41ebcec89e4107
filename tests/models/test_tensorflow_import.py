"""What a process imports with TensorFlow."""

import subprocess
import sys

CODE = """
import sys
from shardline.model.tensorflow_import import import_tensorflow
import_tensorflow()
assert {"tensorflow", "keras"} <= sys.modules.keys()
assert "sklearn" not in sys.modules
import sklearn.linear_model
sklearn.linear_model.LinearRegression()
import_tensorflow()
assert "sklearn" in sys.modules
"""


def test_import_leaves_scikit_learn_out_and_to_the_user():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
