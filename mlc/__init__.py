"""Multi-label classification in PyTorch: heads as probability models over label sets."""

__version__ = "0.1.0"
