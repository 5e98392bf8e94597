"""What policies act in: problems for text, and Gymnasium environments."""
