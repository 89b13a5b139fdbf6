"""Datasets in: image files, folders, splits, checks, drawn scenes, and the packed form that workers share."""
