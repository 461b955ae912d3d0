"""Signatures that are made together are each for its own text, and wait for nobody who has gone."""

from __future__ import annotations

import asyncio

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.provenance.turns import TurnSigner

KEY = bytes(range(32))


async def test_many_at_once_get_each_the_signature_of_its_own_text() -> None:
    signer, public = TurnSigner(KEY), Ed25519PrivateKey.from_private_bytes(KEY).public_key()
    texts = [f"text {place}".encode() for place in range(50)]
    signatures = await asyncio.gather(*map(signer.sign_in_turn, texts))
    for text, signature in zip(texts, signatures, strict=True):
        public.verify(signature, text)


async def test_a_call_cancelled_while_it_waits_holds_up_no_other() -> None:
    signer = TurnSigner(KEY)
    gone = asyncio.create_task(signer.sign_in_turn(b"gone"))
    stays = asyncio.create_task(signer.sign_in_turn(b"stays"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == signer.sign(b"stays")
    assert gone.cancelled()
