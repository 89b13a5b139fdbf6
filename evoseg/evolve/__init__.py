"""The search: tasks, proposers, evaluation, selection, budget."""
