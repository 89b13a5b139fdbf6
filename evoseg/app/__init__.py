"""What a person or a program may ask of evoseg: the Python interface, and all that it wires together."""
