"""What leaves the adapter is bounded, printable, and has no secrets."""

from __future__ import annotations

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


def test_credentials_do_not_show_in_a_repr() -> None:
    """Neither a log line nor an assertion can leak them."""
    assert "AK" not in repr(CREDENTIALS)
    assert "s3cr" not in repr(CREDENTIALS)


def test_lists_of_names_are_cut() -> None:
    """A prefix may hold ten thousand."""
    assert some([]) == "nothing"
    assert some(["b", "a"]) == "'a', 'b'"
    assert some([f"{n:02}" for n in range(20)], limit=2) == "'00', '01' and 18 more"
