"""Tables in files: CSV, TSV, JSON lines and Parquet, read a chunk at a time through one interface."""
