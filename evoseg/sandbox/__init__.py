"""Runs Python operators that a language model or a user wrote, in processes that can reach nothing.

Its modules import numpy and evoseg's operators when they are used, but not the package itself: the processes start
from here, too.
"""
