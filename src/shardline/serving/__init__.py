"""Online serving: HTTP requests checked, batched and answered by a registered model."""
