"""L4: what reads and writes files of samples, and shows samples; found by name or extension."""
