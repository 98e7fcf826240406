"""L1: arrays by digest. Never Git."""
