"""What is looked at before a model from elsewhere is loaded, and refused without running it."""

from shardline.artifacts.safety.check import check_model
from shardline.artifacts.safety.keras_file import check_keras_file
from shardline.artifacts.safety.saved_model import check_saved_model

__all__ = ["check_keras_file", "check_model", "check_saved_model"]
