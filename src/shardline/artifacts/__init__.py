"""Everything a run leaves behind: checkpoints, evaluations, exported and registered models."""
