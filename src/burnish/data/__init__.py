"""Files -> typed rows, and the order in which training sees them."""
