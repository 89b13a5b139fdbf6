"""Readers of the field's image formats: each opens a file as a stack of planes with named axes."""
