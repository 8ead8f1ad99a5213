"""What must not leave the process: secrets, by the name of a variable or the look of a value.

In: names and texts. Out: the same texts with ``(redacted)`` in place of what looks like a secret.
Only this module knows what that is. It errs to the side of hiding: a hidden path costs a second
look, a shown token costs a token. Every pattern runs in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["REDACTED", "is_secret_name", "redact", "redact_arguments", "redact_value"]

REDACTED = "(redacted)"

_NAME_ANYWHERE = re.compile(
    r"passwo?r?d|passphrase|secret|credential|private|api_?key|oauth|bearer|cookie", re.IGNORECASE
)
_NAME_AT_END = re.compile(r"(?:keys?|tokens?|pwd)(?:_?(?:id|file|path|json|b64|base64|value|\d+))?$", re.IGNORECASE)
_WORDS = frozenset(
    {"key", "token", "auth", "dsn", "pass", "pw", "cred", "creds", "jwt", "sas", "pat", "sig", "signature", "session"}
)
_WORD_BREAK = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_HARMLESS = frozenset({"pwd", "oldpwd"})
"""Shells keep the working directory there."""

_TOKENS = re.compile(
    r"""
      \bgh[opusr]_\w{8,} | \bgithub_pat_\w{8,} | \bglpat-[\w-]{8,}
    | \bhf_\w{8,} | \bapi_org_\w{8,}
    | \bsk-[\w-]{8,} | \b[rs]k_(?:live|test)_\w{8,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{12,} | \bAIza[\w-]{20,}
    | \bxox[a-z]-[\w-]{8,} | \bxapp-[\w-]{8,}
    | \bnpm_\w{20,} | \bpypi-\w{16,} | \bdop_v1_\w{16,} | \bnvapi-[\w-]{8,}
    | \beyJ[\w-]{8,}(?:\.[\w-]+){0,4}
    | -----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY-----[^\0]*
    """,
    re.VERBOSE,
)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#@:]*(?::[^\s@]*)?@(?:[^\s/?#@]*@)*")
_SCHEME = re.compile(r"\b(Bearer|Basic|Token)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"""((?:key|token|secret|passwo?r?d|passphrase|pwd|credentials?|signature|\bsig|auth)["']?\s{0,3}[=:]\s{0,3})"""
    r"""(?:"[^"]*"|'[^']*'|[^\s&;,"']+)""",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name is likely to hold a secret."""
    if name.lower() in _HARMLESS:
        return False
    if _NAME_ANYWHERE.search(name) or _NAME_AT_END.search(name):
        return True
    return any(word.lower() in _WORDS for word in _WORD_BREAK.split(name))


def redact(text: str) -> str:
    """The text without user information in URLs, known tokens, and values assigned to secret names."""
    text = _TOKENS.sub(REDACTED, text)
    text = _USER_INFO.sub(f"{REDACTED}@", text)
    # Functions, not templates: `re` imports itself to expand a template, and nothing is imported here.
    text = _SCHEME.sub(lambda found: f"{found[1]} {REDACTED}", text)
    return _ASSIGNMENT.sub(lambda found: f"{found[1]}{REDACTED}", text)


def redact_value(name: str, value: str) -> str:
    """A variable's value, hidden if its name says so; an empty one stays: that it is empty may be the cause."""
    return REDACTED if value and is_secret_name(name) else redact(value)


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line: ``--token=x`` and ``--token x`` are hidden too."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        option = argument.startswith("-")
        name, equals, value = argument.partition("=")
        if hide_next and not option:
            shown.append(REDACTED)
        else:
            shown.append(f"{name}={redact_value(name, value)}" if option and equals else redact(argument))
        hide_next = option and not equals and is_secret_name(argument)
    return shown
