"""`progress.json`: how far a running training is, for whoever watches."""


def progress_key(run: str) -> str:
    """Where a run says how far it is."""
    return f"runs/{run}/progress.json"
