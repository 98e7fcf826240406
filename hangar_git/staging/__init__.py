"""L2: pending edits, the writer lock, the journal."""
