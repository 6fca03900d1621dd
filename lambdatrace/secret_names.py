"""Which names say that what stands under them is a secret: keys, headers and parameters of URLs.

A name is judged by its last part (`http.request.header.authorization`), in words, so that `apiKey`,
`x-api-key` and `API_KEY` are the same, and `input_tokens` or `token_type` are no secret.
Source: OpenTelemetry semantic conventions, "URL" (what to redact in a query).
"""

from __future__ import annotations

import re  # loaded by the runtime client already

# What a name ends with, its words put together: `api key`, `x-api-key` and `apiKey` are `apikey`.
_SECRET_NAMES = frozenset(
    (
        *("authorization", "cookie", "cookies", "password", "passwd", "pwd", "passphrase"),
        *("secret", "token", "apikey", "accesskey", "privatekey", "secretkey", "credential"),
        *("credentials", "signature", "jwt", "csrf", "xsrf", "sessionid", "cardnumber"),
        *("cvv", "cvc", "sig", "awsaccesskeyid", "secretstring", "secretbinary"),
        # No `tokens`: a language model's are counted.
        *("secrets", "passwords", "apikeys", "accesskeys", "privatekeys", "secretkeys"),
        *("accesstokens", "refreshtokens", "authtokens", "cardnumbers"),
    )
)
# These end like a secret and are a page's place in a list.
_HARMLESS_NAMES = frozenset(("nexttoken", "pagetoken", "continuationtoken", "startingtoken"))

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def is_secret_name(name: str) -> bool:
    """Whether `name` is that of a secret."""
    last = name.rpartition(".")[2] or name
    words = [word.lower() for word in _WORDS.findall(last)]
    one, two = "".join(words[-1:]), "".join(words[-2:])
    is_secret = one in _SECRET_NAMES or two in _SECRET_NAMES or "".join(words) in _SECRET_NAMES
    return is_secret and two not in _HARMLESS_NAMES
