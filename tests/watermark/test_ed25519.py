"""Verification of signatures, against RFC 8032 and the `cryptography` package."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark import ed25519

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
# RFC 8032, section 7.1, tests 1, 2, 3 and SHA(abc): public key, message, signature.
RFC_VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
        "f9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0"
        "f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76098"
        "4dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3"
        "feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c664"
        "31e0303dca179c138ac17ad9bef1177331a704",
    ),
]


def accepted_elsewhere(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(("public_key", "message", "signature"), RFC_VECTORS)
def test_rfc_vectors_are_accepted(public_key: str, message: str, signature: str) -> None:
    arguments = [bytes.fromhex(text) for text in (public_key, message, signature)]
    assert ed25519.verify(*arguments)


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_signature_made_elsewhere_is_accepted(seed: bytes, message: bytes) -> None:
    private_key = Ed25519PrivateKey.from_private_bytes(seed)
    public_key = private_key.public_key().public_bytes_raw()
    assert ed25519.verify(public_key, message, private_key.sign(message))


@settings(max_examples=60)
@given(st.integers(0, 2), st.data())
def test_corrupted_input_is_judged_as_elsewhere_and_refused(part: int, data: st.DataObject) -> None:
    private_key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    message = b"a manifest"
    parts = [private_key.public_key().public_bytes_raw(), message, private_key.sign(message)]
    bit = data.draw(st.integers(0, 8 * len(parts[part]) - 1))
    parts[part] = bytes(
        byte ^ ((1 << bit % 8) if i == bit // 8 else 0) for i, byte in enumerate(parts[part])
    )
    assert not ed25519.verify(*parts)
    assert not accepted_elsewhere(*parts)


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_random_bytes_are_no_signature(public_key: bytes, signature: bytes) -> None:
    assert not ed25519.verify(public_key, b"a manifest", signature)


def test_a_scalar_beyond_the_group_order_is_refused() -> None:
    # s + L satisfies the equation as well: a second signature that nobody made.
    key, message, signature = (bytes.fromhex(text) for text in RFC_VECTORS[1])
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not ed25519.verify(key, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    assert not ed25519.verify(bytes(length), b"", bytes(64))


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    public_key = bytes.fromhex(RFC_VECTORS[0][0])
    assert not ed25519.verify(public_key, b"", bytes(length))


@pytest.mark.parametrize(
    "encoded",
    [
        PRIME,  # y = p: the point (1, 0)'s y written a second way
        PRIME + 1,  # y = 1 written a second way
        2**255 - 1,  # the largest y there is
        1 | 1 << 255,  # x = 0 with the sign of a negative x
        2,  # no point of the curve has y = 2
    ],
)
def test_a_key_that_encodes_no_point_is_refused(encoded: int) -> None:
    # With s = 0 and R the neutral point, these would pass as keys of order one or four.
    neutral = (1).to_bytes(32, "little")
    key = encoded.to_bytes(32, "little")
    assert not ed25519.verify(key, b"a manifest", neutral + bytes(32))
