"""Garbage: what of a store nothing refers to. A plan of plain data first, then its removal."""
