"""The files that can be downloaded, and how."""
