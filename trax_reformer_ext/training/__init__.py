"""Training runs: configuration, the loop, evaluation and reports."""
