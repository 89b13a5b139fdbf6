"""The studio: a local web application in which one paints, sees the answer at once, searches and applies."""
