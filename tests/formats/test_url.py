"""Addresses of images: what is understood, what is refused, where redirects lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import AddressError
from bootsvc.formats.url import Url, is_url, parse_url, redirected


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host/a.bimg", Url("http", "host", 80, "/a.bimg")),
        ("HTTPS://Host:8443/a?b=/c", Url("https", "host", 8443, "/a?b=/c")),
        ("http://10.0.2.2:8000", Url("http", "10.0.2.2", 8000, "/")),
        ("http://host?x=1", Url("http", "host", 80, "/?x=1")),
        ("http://[fe80::1]:81/a#part", Url("http", "fe80::1", 81, "/a")),
    ],
)
def test_an_address_is_taken_apart(text: str, url: Url) -> None:
    assert parse_url(text) == url
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin"),
        ("host/a.bimg", "does not begin"),
        ("ftp://host/a", "does not begin"),
        ("http:///a", "names no host"),
        ("http://ho st/a", "without blanks"),
        ("http://host/a b", "without blanks"),
        ("http://host/a\r\nX: y", "without blanks"),
        ("http://hos\u00e4/a", "ASCII"),
        ("http://host:0/a", "no port"),
        ("http://host:65536/a", "no port"),
        ("http://host:x/a", "no port"),
        ("http://user:secret@host/a", "names and passwords"),
        ("http://[host]/a", "names no host"),
        ("http://host/" + 2000 * "a", "at most"),
    ],
)
def test_what_is_no_address_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words) as caught:
        parse_url(text)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/x", "http://host:81/x"),
        ("x?y=http://z/", "http://host:81/images/x?y=http://z/"),
        ("//other/x", "http://other/x"),
        ("https://other/x", "https://other/x"),
        ("", "http://host:81/images/"),
    ],
)
def test_a_redirect_leads_on_in_full_or_from_where_it_stands(location: str, leads_to: str) -> None:
    assert str(redirected(parse_url("http://host:81/images/a.bimg?q=1/2"), location)) == leads_to


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x", "/a b", "http://u@h/"])
def test_a_redirect_to_nowhere_is_refused(location: str) -> None:
    with pytest.raises(AddressError):
        redirected(parse_url("http://host/a"), location)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused_as_one(text: str) -> None:
    for one in (text, f"http://{text}"):
        try:
            url = parse_url(one)
        except AddressError:
            continue
        assert is_url(one)
        assert parse_url(str(url)) == url
        assert url.target.isprintable()
        assert " " not in url.target
