"""What a request hears that can never be a message."""

# Of a refusal's reason, which is answered and logged: some of it quotes the request.
MAX_REASON_BYTES = 2_048
_CUT = " ... and more"


class Refused(Exception):
    """The request can never be a message.

    Args:
        status: HTTP status: 400, 408, 413 or 415.
        reason: What is wrong, for the sender; cut to `MAX_REASON_BYTES` of UTF-8.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        encoded = reason.encode()
        if len(encoded) > MAX_REASON_BYTES:
            kept = encoded[: MAX_REASON_BYTES - len(_CUT)]
            reason = kept.decode("utf-8", "ignore") + _CUT
        self.reason = reason
        super().__init__(f"{status}: {reason}")
