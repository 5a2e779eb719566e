"""Heads: from features to an output model."""
