"""Where a config becomes objects: the only floor that knows how experiments are written down."""
