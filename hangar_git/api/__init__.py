"""L3: the public objects - repository, checkouts, arraysets, metadata."""
