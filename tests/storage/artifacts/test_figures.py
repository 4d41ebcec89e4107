"""Logs as plain numbers."""

import numpy as np

from shardline.artifacts.figures import figures


def test_figures_name_what_a_metric_with_several_numbers_answers():
    logs = {
        "loss": np.float32(0.5),
        "f1_score": np.array([0.25, 0.75]),
        "own": {"precision": 1, "by_class": [0.0, 1.0]},
    }
    assert figures(logs) == {
        "loss": 0.5,
        "f1_score_0": 0.25,
        "f1_score_1": 0.75,
        "precision": 1.0,
        "by_class_0": 0.0,
        "by_class_1": 1.0,
    }
