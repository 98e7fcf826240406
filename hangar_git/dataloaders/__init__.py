"""Data loaders: samples of a commit as batches for training."""
