"""The Python interface and the command line: what wires everything else together."""
