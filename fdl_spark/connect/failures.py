"""What a client of Spark Connect is told when there is no server, or no session on it, to go on with."""

import re

GONE = r"StatusCode\.UNAVAILABLE|Cannot invoke RPC on closed channel|RETRIES_EXCEEDED"
ENDED = r"\[INVALID_HANDLE\.SESSION_\w+\]|\[(NO_ACTIVE_SESSION|SESSION_CLOSED)\]"


def ended(text: str) -> str | None:
    """Why nothing can be asked of the server any more, from the text of an error; None if something can.

    >>> ended("[INVALID_HANDLE.SESSION_CLOSED] The handle is invalid. SQLSTATE: HY000")
    'the session on the server of Spark Connect has ended; make a new one, and the data from it'
    """
    if re.search(GONE, text):
        details = re.search(r'details = "([^"]*)"', text)
        said = f" ({details.group(1)[:200]})" if details else ""
        return f"the server of Spark Connect cannot be reached{said}; make a new session when it is there again"
    if re.search(ENDED, text):
        return "the session on the server of Spark Connect has ended; make a new one, and the data from it"
    return None
