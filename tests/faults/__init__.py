"""What a training run survives: python -m tests.faults --help."""
