"""Losses: one number per example, and what the trained output then means."""
