"""The tasks of a search: foreground, objects, points, transforms of pairs, or a user's own task."""
