"""Uses a finished pipeline: applies, scores and measures."""
