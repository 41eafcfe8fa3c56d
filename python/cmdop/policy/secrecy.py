"""Which words name a secret: a program that is asked for one prints it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAMES = re.compile(
    r"token(?!i[sz])|secret|passw|passphrase|passcode|credential|extraheader|oauth"
    r"|(api|access|private|signing|encryption|account)[-_.: ]?key"
    r"|(?<![a-z])_?(auth|pat|pwd|jwt|otp|totp)(?![a-z])",
    re.IGNORECASE,
)

_OF_GIT = re.compile(r"token|secret|passw|smtppass|extraheader|insteadof|oauth|cookie", re.IGNORECASE)
"""Settings of git that hold what it signs in with. `credential.*` says how it is got, and holds none."""

_LIKE_GIT = (
    "github.token",
    "gitlab.token",
    "sendemail.smtppass",
    "http.extraheader",
    "http.https://host/.extraheader",
    "url.https://user:secret@host/.insteadof",
)
"""Such settings as they are written, for expressions that may match them."""

_LONGEST_EXPRESSION = 64


def names_secret(words: Iterable[str]) -> bool:
    """Does one of the words name what somebody signs in with?"""
    return any(_NAMES.search(word) for word in words)


def is_asked_of_git(words: list[str]) -> bool:
    """Would `git config` with these words print what git signs in with, because it was asked for that?"""
    operands = [word for word in words if not word.startswith("-") and word not in ("get", "list")]
    if any(_OF_GIT.search(word) for word in operands):
        return True
    by_expression = "--get-regexp" in words or (words[:1] == ["get"] and "--regexp" in words)
    return by_expression and any(_may_match(expression) for expression in operands)


def _may_match(expression: str) -> bool:
    if len(expression) > _LONGEST_EXPRESSION:
        return True
    try:
        return any(re.search(expression, name, re.IGNORECASE) for name in _LIKE_GIT)
    except re.error:
        return True
