"""Bytes by key."""

from sandyard.blobs.buckets import open_bucket
from sandyard.blobs.objects import ObjectBlobs

__all__ = ["ObjectBlobs", "open_bucket"]
