"""Evaluation: metrics over every row of a held-out split, each row once."""

from shardline.evaluation.driver import EvaluateResult, evaluate_run

__all__ = ["EvaluateResult", "evaluate_run"]
