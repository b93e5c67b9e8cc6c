"""What leaves the adapter is bounded, printable, and has no secrets."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.domain.copies import Credentials
from adapters.domain.texts import clean, scrub, some

CREDENTIALS = Credentials(access_key_id="AK/ID+1", secret_access_key="s3cr/et=", endpoint_url="http://x")


@given(st.text(max_size=5000), st.integers(2, 2000))
def test_texts_are_short_and_printable(text: str, limit: int) -> None:
    """Newlines stay: a server's words may have several lines."""
    cleaned = clean(text, limit=limit)
    assert len(cleaned) <= limit
    assert all(c.isprintable() or c == "\n" for c in cleaned)


def test_secrets_are_removed_in_the_spellings_that_stores_use() -> None:
    """Raw as in messages, percent-encoded as in URLs."""
    text = "key AK/ID+1 and AK%2FID%2B1, secret s3cr/et= and s3cr%2Fet%3D"
    assert scrub(text, CREDENTIALS) == "key *** and ***, secret *** and ***"


def test_lists_of_names_are_cut() -> None:
    """A prefix may hold ten thousand."""
    assert some([]) == "nothing"
    assert some(["b", "a"]) == "'a', 'b'"
    assert some([f"{n:02}" for n in range(20)], limit=2) == "'00', '01' and 18 more"


def test_what_is_too_short_to_be_a_secret_garbles_no_text() -> None:
    """A store's placeholder key of one letter is part of every word."""
    short = replace(CREDENTIALS, access_key_id="a", secret_access_key="b")
    assert scrub("a bucket cannot be reached", short) == "a bucket cannot be reached"
