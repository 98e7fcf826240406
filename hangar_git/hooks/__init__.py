"""L4: Git hooks, and their installation. Conveniences: whatever one misses, `sync` does."""
