"""L1: what is committed. Git objects only, never an array."""
