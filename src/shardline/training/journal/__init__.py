"""What a run tells people while it trains: progress, metrics, TensorBoard, MLflow."""
