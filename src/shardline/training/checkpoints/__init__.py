"""When training state is committed, by whom, and where training continues."""
