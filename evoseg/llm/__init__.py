"""A proposer backed by a language model: its roles, its leash, and what it is told."""
