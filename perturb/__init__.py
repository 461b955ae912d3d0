"""Controlled output perturbation: text and logprobs in, text and logprobs out, no I/O."""

__distribution__ = "azeotrope"
