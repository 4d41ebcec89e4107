"""What workers tell each other: sums and messages around a ring."""
