"""The user's model: its source code, the features it is given, and the check of what it returns."""
