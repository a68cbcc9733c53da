"""What a client is told of a request that is not answered with a result."""


class Refusal(Exception):
    """A request that is refused: a status of HTTP, and why.

    Attributes:
        status: the status.
        details: what goes into the JSON of the answer: `error`, and `input`, `expected`, `got` where an array is wrong.
        headers: more headers of the answer.
    """

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None, **details: str) -> None:
        super().__init__(error)
        self.status = status
        self.details = {"error": error, **details}
        self.headers = headers or {}
