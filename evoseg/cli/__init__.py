"""The command line: each command says what it takes, asks the interface and prints; nothing else happens here."""
