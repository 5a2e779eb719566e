"""Texts to inputs: how they are cut into tokens or counted, fitted on the training texts alone."""
