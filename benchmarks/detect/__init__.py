"""Speed of the detector."""
