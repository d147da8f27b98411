"""One AppendRows connection: a request and its response, each with a deadline.

The call is a bidirectional stream without a deadline for one exchange, so responses are read by a
thread and waited for here.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse

_END = None


class Connection:
    """Appends to one write stream.

    Args:
        client: A `BigQueryWriteClient`.
        stream: The write stream's full name.
    """

    def __init__(self, client: Any, stream: str) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # The header by which Google routes the call to where the stream lives.
        self._call = client.transport.append_rows(
            iter(self._requests.get, _END),
            metadata=[("x-goog-request-params", f"write_stream={stream}")],
        )
        self._thread = threading.Thread(target=self._read, name="append-responses", daemon=True)
        self._thread.start()

    def exchange(self, request: AppendRowsRequest, deadline: float) -> Any:
        """Sends a request and waits for its response.

        After any exception the connection is of no more use: the outcome is not known.

        Returns:
            The response as plain protobuf (`AppendRowsResponse.pb`).

        Raises:
            GoogleAPICallError: The call ended, with its code; DeadlineExceeded: no answer.
        """
        self._requests.put(request)
        try:
            answer = self._responses.get(timeout=deadline)
        except queue.Empty:
            raise exceptions.DeadlineExceeded(f"no answer within {deadline:.0f} s") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the call."""
        self._requests.put(_END)
        self._call.cancel()

    def _read(self) -> None:
        try:
            for response in _plain(self._call):
                self._responses.put(response)
            self._responses.put(exceptions.Unknown("the service ended the call"))
        except grpc.RpcError as error:
            self._responses.put(exceptions.from_grpc_error(error))


def _plain(call: Any) -> Iterator[Any]:
    for response in call:
        yield AppendRowsResponse.pb(response)
