"""The tasks of a search: foreground, objects, points, shifts, or a user's own task."""
