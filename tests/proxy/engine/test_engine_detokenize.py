"""Incremental text: equal to decoding everything, never a broken character, stop strings exact."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.engine.detokenize import Detokenizer, StopScanner
from proxy.engine.model import LanguageModel

# A session fixture is no state that examples could disturb.
SHARED = settings(max_examples=150, deadline=None)


def _pieces(model: LanguageModel, tokens: list[int]) -> list[str]:
    detokenizer = Detokenizer(model.decode)
    return [*(detokenizer.feed(token) for token in tokens), detokenizer.flush()]


@SHARED
@given(tokens=st.lists(st.integers(0, 49151), max_size=40))
def test_pieces_of_any_tokens_add_up_to_the_whole_text(
    model: LanguageModel, tokens: list[int]
) -> None:
    assert "".join(_pieces(model, tokens)) == model.decode(tokens)


@SHARED
@given(text=st.text(max_size=60))
def test_text_that_is_whole_never_shows_a_broken_character(model: LanguageModel, text: str) -> None:
    tokens = model.encode(text)
    # The vocabulary lacks the bytes of unassigned planes, and U+FFFD itself looks like a fault.
    assume("\ufffd" not in model.decode(tokens))
    pieces = _pieces(model, tokens)
    assert "".join(pieces) == model.decode(tokens)
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_of_several_tokens_comes_whole_with_its_last_token(
    model: LanguageModel,
) -> None:
    tokens = model.encode("a🜁b")
    assert len(tokens) > 4
    pieces = [piece for piece in _pieces(model, tokens) if piece]
    assert pieces == ["a", "🜁", "b"]


def test_a_character_that_is_never_completed_is_shown_at_the_end(model: LanguageModel) -> None:
    tokens = model.encode("a🜁")[:-1]
    assert "".join(_pieces(model, tokens)) == "a\ufffd"


PIECES = st.lists(st.text("abc", max_size=4), max_size=12)


@given(pieces=PIECES, stop=st.text("abc", min_size=1, max_size=4))
def test_a_stop_string_is_found_wherever_pieces_are_cut(pieces: list[str], stop: str) -> None:
    scanner = StopScanner([stop])
    shown = "".join(scanner.feed(piece) for piece in pieces) + scanner.flush()
    assert shown == "".join(pieces).split(stop)[0]
    assert (scanner.stopped_by is not None) == (stop in "".join(pieces))


@given(pieces=PIECES, stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_no_part_of_a_found_stop_string_is_shown(pieces: list[str], stops: list[str]) -> None:
    scanner = StopScanner(stops)
    shown = "".join(scanner.feed(piece) for piece in pieces) + scanner.flush()
    assert "".join(pieces).startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert scanner.stopped_by or shown == "".join(pieces)


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    scanner = StopScanner(["END"])
    assert scanner.feed("the E") == "the "
    assert scanner.feed("N") == ""
    assert scanner.feed("terprise") == "ENterprise"
