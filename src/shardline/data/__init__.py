"""Raw source to dataset, and back from shards to arrays in an order that is the same everywhere."""
