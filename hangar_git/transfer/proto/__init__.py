"""Generated from hangar.proto by `make proto`; not to be edited."""
