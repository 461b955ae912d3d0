"""What an answer says of its mark, in headers that anyone can verify.

signatures.py  the arithmetic of RFC 9421 and RFC 9530, pure
signer.py      the gateway's side: what it claims, and its signature
turns.py       signatures made together, one turn of the event loop's at a time
verify.py      the reader's side: a saved response, and whether its claim holds
"""

from proxy.provenance.signer import WELL_KNOWN, Provenance, description

__all__ = ["WELL_KNOWN", "Provenance", "description"]
