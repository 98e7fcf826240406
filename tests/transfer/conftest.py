"""Fixtures of data remotes."""

from __future__ import annotations

from .s3server import s3, s3_process

__all__ = ["s3", "s3_process"]
