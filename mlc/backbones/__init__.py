"""Backbones: from named inputs to named features."""
