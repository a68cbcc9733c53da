"""Credentials in URIs, which no history, report, log line, job or error may tell."""

import re

# A name with a password, which may hold "/" and "@" where somebody forgot to escape them; digits alone are a port.
PASSWORD = re.compile(r"""(://)[^\s/@:'"[]*:(?!\d*(?:[/?#,\s'"]|$))[^\s'"]*@""")
USER = re.compile(r"""(?<!abfs)(?<!abfss)(?<!wasb)(?<!wasbs)(://)[^\s/'"]*@""", re.IGNORECASE)  # those name a container
QUERY = re.compile(
    r"""(?<=[?&;])(sig|[\w.%-]*(?:signature|token|secret|password|passwd|pwd|credentials?|key|keyid|auth))=[^&;\s'"#]*""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text without the credentials in its URIs: user and password before a host, and what signs a request.

    Signatures and keys are known by their names: those of S3's and Google's presigned URLs, of Azure's shared access
    signatures and connection strings, and of JDBC.

    >>> masked("cannot write s3://key:sec/ret@bucket/run")
    'cannot write s3://...@bucket/run'
    >>> masked("https://account.blob.core.windows.net/rows?sv=2024&sig=abc%3D&X-Amz-Signature=12")
    'https://account.blob.core.windows.net/rows?sv=2024&sig=...&X-Amz-Signature=...'
    """
    if "://" in text:
        text = USER.sub(r"\1...@", PASSWORD.sub(r"\1...@", text))
    return QUERY.sub(r"\1=...", text) if "=" in text else text
