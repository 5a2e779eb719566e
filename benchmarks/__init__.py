"""How fast, how large, how linear: the measurements behind docs/performance.md, and the command that repeats them."""
