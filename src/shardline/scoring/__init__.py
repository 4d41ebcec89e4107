"""Batch scoring: units planned from the input, predicted anywhere, each committed exactly once."""
