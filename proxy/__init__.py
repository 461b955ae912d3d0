"""The gateway: everything that speaks HTTP or Redis."""

# Other distributions install packages of these names; proxy/identity.py compares this.
__distribution__ = "azeotrope"
