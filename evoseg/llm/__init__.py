"""A proposer backed by a language model: roles, client, usage limits and conversation."""
