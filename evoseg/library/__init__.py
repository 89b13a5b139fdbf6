"""Solved tasks: what they look like, which of them are like a new one, and what their pipelines are worth there."""
