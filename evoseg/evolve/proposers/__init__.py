"""Where candidates come from: variation, random programs, sums of curves, classic recipes, solved tasks."""
