"""shardline: train plain Keras 3 models on many workers, freeze them, serve and batch-score them."""
