"""The group of workers under Ray Train: started, watched, stopped together, started again."""
