"""The gateway: everything that speaks HTTP or Redis."""
