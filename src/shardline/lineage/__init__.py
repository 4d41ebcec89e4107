"""Lineage: from a prediction back to the files it comes from, and from a dataset forward."""
