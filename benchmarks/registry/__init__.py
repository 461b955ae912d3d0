"""What the call registry and signed headers cost a call, and how fast segments are read."""
