"""Training: Ray workers that each `fit` the same Keras model on their lanes of the data."""
