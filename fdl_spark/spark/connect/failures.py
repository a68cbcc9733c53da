"""What a client of Spark Connect is told when there is no server, or no session on it, to go on with."""

import re

GONE = r"StatusCode\.UNAVAILABLE|Cannot invoke RPC on closed channel|RETRIES_EXCEEDED"
LARGE = r"(?:gRPC message exceeds maximum size|[Rr]eceived message larger than max) \(?(\d+)\D+(\d+)"
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


def too_large(text: str) -> str | None:
    """What to do about a message that an end of the connection does not take, from the text of an error.

    >>> too_large('details = "gRPC message exceeds maximum size 4194304: 16777300"')
    'a message of 16777300 bytes is more than 4194304, which the server takes at most; raise \
spark.connect.grpc.maxInboundMessageSize there to 134217728, its default, or more'
    """
    found = re.search(LARGE, text)
    if found is None:
        return None
    least, most = sorted(map(int, found.groups()))
    return (
        f"a message of {most} bytes is more than {least}, which the server takes at most; raise "
        f"spark.connect.grpc.maxInboundMessageSize there to 134217728, its default, or more"
    )
