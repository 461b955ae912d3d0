"""What does the mark cost, and what does it buy? Perplexity against detection power."""
