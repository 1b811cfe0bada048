"""The parts of remote keys, and what of an address may be shown."""

from __future__ import annotations

import pytest

from miniduct.keys import bucket_and_name, glob_folder, host_of, key_of, secret_in, unescaped, without_secrets


@pytest.mark.parametrize("name", ["x", "a/b", "a//b", "#", "?x=1", "a/../b", " ", "a\nb", "gs://b/x", "..."])
def test_an_objects_key_is_split_as_plain_text(name: str) -> None:
    assert bucket_and_name(key_of("b", name)) == ("b", name)


@pytest.mark.parametrize(
    "key", ["", "gs:/b/x", "s3://b/x", "gs:///x", "gs://b", "gs://b/", "gs://b/.", "gs://b/\udcff"]
)
def test_what_is_no_objects_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        bucket_and_name(key)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://Example.org/x", "example.org"),
        ("http://me:hidden@h:80/x@y", "h:80"),
        ("https://h?x=a/b", "h"),
        ("https://[::1]:8/x", "[::1]:8"),
    ],
)
def test_the_host_is_found(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        ("https://h/x", None),
        ("https://h/x?day=1&x", None),
        ("https://h/a@b", None),
        ("https://me@h/x", "password"),
        ("https://me:hidden@h/x", "password"),
        ("https://h/x?day=1&X-Goog-Signature=ab", "X-Goog-Signature"),
        ("https://h/x?SIG=ab", "SIG"),
        ("https://h/x?access%5Ftoken=ab", "access_token"),
        ("https://h/x?sig=", None),
        ("https://h/x#sig=1", None),
    ],
)
def test_what_must_not_stand_in_an_address_is_found(address: str, secret: str | None) -> None:
    assert secret_in(address) == secret


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://h/x", "https://h/x"),
        ("https://me:hidden@h:8/x@y", "https://h:8/x@y"),
        ("https://h/x?a=1&b&sig=hidden#part", "https://h/x?a=…&b&sig=…"),
        ("https://me:hidden@h?sig=hidden", "https://h?sig=…"),
    ],
)
def test_what_is_shown_of_an_address_opens_no_door(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("*.p", ""),
        ("/*.p", "/"),
        ("p/*.p", "p/"),
        ("p/*/", "p/"),
        ("p/x*/y/*.p", "p/"),
        ("p/[ab]/*.p", "p/"),
        ("p/[[]z]/*.p", "p/[z]/"),
        ("p/[*]/[?]/*.p", "p/*/?/"),
        ("p/[[]x/*.p", "p/[x/"),
        ("p/[x/*.p", "p/[x/"),
        ("p/[]/*.p", "p/[]/"),
        ("p/[!]/*.p", "p/[!]/"),
        ("gs://b/[[]z]/*.p", "gs://b/[z]/"),
        ("p/[[]z]", "p/"),
    ],
)
def test_an_escaped_sign_is_a_part_of_the_folder(text: str, folder: str) -> None:
    assert glob_folder(text) == folder


def test_a_glob_is_called_as_its_user_calls_it() -> None:
    assert unescaped("p/[[]z]/[*]/*.p") == "p/[z]/*/*.p"
