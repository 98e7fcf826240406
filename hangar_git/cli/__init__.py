"""L4: the command line, ``git hangar``."""
