"""Cleaning as the spec declares it: of raw values, of typed rows, and of repeated rows."""
