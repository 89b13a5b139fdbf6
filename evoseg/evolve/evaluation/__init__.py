"""Evaluation of candidates: jobs, caches, worker processes, fitted thresholds."""
