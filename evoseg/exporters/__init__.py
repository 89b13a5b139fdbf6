"""What leaves evoseg: a pipeline as a program of its own."""
