"""Objects that people outlined in annotation tools: their classes, their pixels, and readers of these files."""
