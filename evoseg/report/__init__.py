"""What a person looks at: contact sheets, overlays, curves, the report."""
