"""Makes the workers' copies of the model one model: gradients, statistics, metrics, checks."""
