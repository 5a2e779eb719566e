"""How fast, how large, how linear: the measurements of docs/performance.md, and what repeats them."""
