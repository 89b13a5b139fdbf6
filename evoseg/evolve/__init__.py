"""The search: task, evaluator, workers, variation, selection, tuning, budget."""
