"""Scores of an answer against the truth; higher is better, always."""
