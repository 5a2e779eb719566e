"""Backbones: from named inputs to one row of features."""
