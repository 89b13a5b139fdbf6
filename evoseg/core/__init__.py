"""The foundation of all packages: kinds of value, errors, files, keyed random streams."""
