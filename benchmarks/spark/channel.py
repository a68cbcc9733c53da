"""Lines of JSON between the benchmark and the processes that it measures, over a Unix socket in a private folder."""

import json
import socket
from pathlib import Path
from typing import Any


class Closed(Exception):
    """The other end hung up, or said nothing in time."""


class Channel:
    """One end of a conversation in which each request has an answer.

    Args:
      connection: a connected stream socket.
    """

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self._file = connection.makefile("rw")

    @staticmethod
    def connect(path: str) -> "Channel":
        """The end of a process that is measured."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return Channel(connection)

    def send(self, value: Any) -> None:
        print(json.dumps(value), file=self._file, flush=True)

    def receive(self, limit: float | None = None) -> Any:
        """The next value.

        Args:
          limit: seconds to wait for it; None for as long as it takes.

        Raises:
          Closed: it did not come.
        """
        self.connection.settimeout(limit)
        try:
            line = self._file.readline()
        except (TimeoutError, OSError) as error:
            raise Closed(f"no answer in {limit} s" if isinstance(error, TimeoutError) else str(error)) from None
        if not line:
            raise Closed("the process has ended")
        return json.loads(line)

    def ask(self, request: Any, limit: float | None = None) -> Any:
        """Send a request and wait for its answer."""
        self.send(request)
        return self.receive(limit)

    def close(self) -> None:
        self._file.close()
        self.connection.close()


class Door:
    """Where processes connect.

    Args:
      folder: a private folder for the socket.
    """

    def __init__(self, folder: str):
        self.path = str(Path(folder) / "door")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen()

    def accept(self, limit: float) -> Channel:
        """The channel of the next process that connects within `limit` seconds."""
        self.server.settimeout(limit)
        try:
            connection, _ = self.server.accept()
        except TimeoutError:
            raise Closed(f"nobody connected in {limit:.0f} s") from None
        return Channel(connection)

    def close(self) -> None:
        self.server.close()
        Path(self.path).unlink(missing_ok=True)
