"""Photographs → shards: read, measured, cut, sorted into categories and packed, the same bytes for the same input."""
