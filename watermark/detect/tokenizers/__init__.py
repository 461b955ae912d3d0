"""What the tokenizer of the detector is made of: GGUF vocabularies, the fast path, the cache."""
