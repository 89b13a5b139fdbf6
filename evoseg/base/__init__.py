"""What every other package stands on: kinds of value, errors, keyed random streams."""
