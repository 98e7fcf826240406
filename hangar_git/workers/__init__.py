"""Samples for processes on other machines, which have a remote's address and no clone."""
