"""Connecting and shaking hands, which py-amqp does; all that the rest of the bundle touches of its untyped classes.

py-amqp reads and writes through a `Link` from the first byte on: `_Connection` hands its reading over, and `adopt`
takes the socket.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import amqp
from amqp.transport import SSLTransport, TCPTransport

from celeriac_amqp.failures import LinkLost

if TYPE_CHECKING:
    from celeriac_amqp.location import Location

__all__ = ["Driver", "connection_closed", "refusal", "server_error"]

_CAPABILITIES: Final = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}
_FRAME_BYTES: Final = 131072
_VERIFY: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_INTERNAL_ERROR: Final = 541
_PERMANENT: Final = frozenset({402, 403, 530})


class _Secure(SSLTransport):  # type: ignore[misc]
    """py-amqp's, with a context that was made from the options."""

    context: ssl.SSLContext

    def _wrap_socket(self, sock: socket.socket, **_: Any) -> ssl.SSLSocket:
        return self.context.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)


class _Connection(amqp.Connection):  # type: ignore[misc]
    """py-amqp's, which reads and writes by way of the link."""

    driver: Driver

    def Transport(self, host: str, connect_timeout: float, ssl: Any, *_: Any, **options: Any) -> Any:  # noqa: N802  py-amqp's
        transport = (_Secure if ssl else TCPTransport)(host, connect_timeout=connect_timeout, ssl=bool(ssl), **options)
        if ssl:
            transport.context = ssl
        return transport

    def drain_events(self, timeout: float | None = None) -> None:
        self.driver.pump(self)

    def blocking_read(self, timeout: float | None = None) -> None:
        self.driver.pump(self)


class Driver:
    """py-amqp's side of a link: the handshake, and a channel for the rare methods. Only the thread that leads uses it.

    `adopt(socket)` is called once it is connected, `once()` whenever py-amqp waits, and `write(data)` when it writes.
    """

    def __init__(
        self, adopt: Callable[[socket.socket], object], once: Callable[[], object], write: Callable[[bytes], object]
    ) -> None:
        self._adopt, self._once, self._write = adopt, once, write
        self._adopted = False
        self._connection: Any = None
        self._channel: Any = None
        self.error: Exception | None = None
        """What the server refused in the call that is under way."""

    def connect(self, location: Location, host: str, port: int, name: str, seconds: float) -> None:
        """Connect and shake hands. Raises: OSError, or what `once` raises."""
        self._connection = connection = _Connection(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            userid=location.user,
            password=location.password,
            login_method=location.mechanism,
            virtual_host=location.virtual_host,
            ssl=_context(location) or False,
            connect_timeout=seconds,
            heartbeat=_whole(location.heartbeat),
            frame_max=_FRAME_BYTES,
            client_properties={
                "product": "Celeriac",
                "connection_name": name,
                **location.client_properties,
                "capabilities": dict(_CAPABILITIES),
            },
            socket_settings=_socket_settings(location.heartbeat),
        )
        connection.driver = self
        connection.connect()
        if self.error is not None:
            raise self.error

    def pump(self, connection: Any) -> None:
        """Read once, on behalf of py-amqp."""
        if not self._adopted:
            self._adopted = True
            transport = connection.transport
            transport._write = self._written
            # Not py-amqp's any more, some versions of which shut it down when they are collected, in a child too.
            sock, transport.sock = transport.sock, None
            self._adopt(sock)
        self._once()
        if self.error is not None:
            raise self.error

    def _written(self, data: Any) -> None:
        self._write(bytes(data))

    @property
    def limits(self) -> tuple[int, int, int]:
        """What was agreed: the largest frame in bytes, the highest channel, the seconds between heartbeats, or 0."""
        connection = self._connection
        return int(connection.frame_max), int(connection.channel_max), int(connection.heartbeat)

    def channel(self) -> Any:
        """Return py-amqp's channel, opened if there is none."""
        if self._channel is None:
            self._channel = self._connection.channel()
        return self._channel

    def drop_channel(self) -> int:
        """Have the next call use a new channel; return the number of the old one, or 0."""
        channel, self._channel = self._channel, None
        number = int(channel.channel_id or 0) if channel is not None else 0
        if number:
            # Its number stays taken: late answers must not reach the next one.
            self._connection.channels.pop(number, None)
            channel.connection = None
        return number

    def forget_channel(self, number: int) -> None:
        """Learn that the server has closed a channel."""
        channel = self._connection.channels.get(number)
        if channel is not None:
            channel.collect()
        if channel is self._channel:
            self._channel = None

    def arrived(self, kind: int, channel: int, payload: bytes) -> None:
        """Give py-amqp a frame of one of its channels."""
        connection = self._connection
        if connection is not None and connection.channels and channel in connection.channels:
            try:
                connection.on_inbound_frame((kind, channel, payload))
            except Exception as error:  # noqa: BLE001  whatever it is, the caller gets it from `pump`
                self.error = error

    def discard(self) -> None:
        """Close a socket that was not adopted, and let go of everything."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is None:
            return
        transport = connection._transport
        if transport is not None:
            if not self._adopted and transport.sock is not None:
                transport.sock.close()
            transport.sock, transport.connected = None, False
        connection.collect()


def _context(location: Location) -> ssl.SSLContext | None:
    """Return how TLS is done, or None. Raises: OSError, ssl.SSLError: a file cannot be read."""
    tls = location.tls
    if tls is None:
        return None
    made = ssl.create_default_context(cafile=tls.authorities)
    made.check_hostname = tls.check_hostname
    made.verify_mode = _VERIFY[tls.requirement]
    if tls.certificate:
        made.load_cert_chain(tls.certificate, tls.key)
    return made


def _whole(seconds: float) -> int:
    """Return the seconds between heartbeats as AMQP has them: whole, and 0 only when there are to be none."""
    return max(round(seconds), 1) if seconds > 0 else 0


def _socket_settings(heartbeat: float) -> dict[int, int]:
    """Let the system notice a dead peer about when missing heartbeats would."""
    seconds = max(int(heartbeat), 10) if heartbeat else 60
    settings = {socket.TCP_NODELAY: 1}
    for name, value in (
        ("TCP_USER_TIMEOUT", seconds * 2000),
        ("TCP_KEEPIDLE", seconds),
        ("TCP_KEEPINTVL", max(seconds // 4, 1)),
        ("TCP_KEEPCNT", 4),
    ):
        if hasattr(socket, name):
            settings[getattr(socket, name)] = value
    return settings


def server_error(code: int, reason: str, method: bytes) -> Exception:
    """Return py-amqp's exception for what the server refused; `method` as four bytes."""
    number = (int.from_bytes(method[:2], "big"), int.from_bytes(method[2:], "big"))
    error: Exception = amqp.exceptions.error_for_code(code, reason, number, amqp.exceptions.ChannelError)
    return error


def connection_closed(location: Location, code: int, reason: str) -> LinkLost:
    """Return the error for a connection that the server closed, with the fix where it is known."""
    fix = ""
    if "Login was refused" in reason or "authentication" in reason.lower():
        fix = (
            f"; check the user {location.user!r} and the password in the address, and that it may log in from here "
            "('guest' only from the server's own machine)"
        )
    elif "not found" in reason and code in {402, 530}:
        fix = f"; create it (rabbitmqctl add_vhost {location.virtual_host}) or correct the end of the address"
    elif "access to vhost" in reason:
        fix = f"; allow it: rabbitmqctl set_permissions -p {location.virtual_host} {location.user} '.*' '.*' '.*'"
    elif code == _INTERNAL_ERROR:
        fix = "; RabbitMQ 3 answers so whoever consumes a quorum queue while another connection makes it: try again"
    permanent = code in _PERMANENT and bool(fix)
    return LinkLost(
        f"{location.label} closed the connection: {code} {reason}{fix}", code=code, reason=reason, permanent=permanent
    )


def refusal(location: Location, host: str, port: int, error: BaseException) -> LinkLost:
    """Return the error for a connection that did not come about, with the fix where it is known."""
    reason = str(error) or type(error).__name__
    fix = ""
    if isinstance(error, ssl.SSLCertVerificationError):
        fix = "; name the authority that signed its certificate, or the host as the certificate does"
    elif isinstance(error, ssl.SSLError):
        fix = "; does this port speak TLS? (usually 5671 does, 5672 does not)"
    elif isinstance(error, ConnectionRefusedError):
        fix = "; is RabbitMQ running there, and is the port right?"
    elif isinstance(error, socket.gaierror):
        fix = "; check the host's name"
    elif isinstance(error, TimeoutError):
        fix = "; does a firewall drop what is sent to it?"
    elif isinstance(error, LinkLost) and error.code == 0 and not location.tls:
        fix = "; does this port want TLS (amqps://)?" if "without a word" in reason or "reset" in reason else ""
    if isinstance(error, LinkLost) and error.code:
        return error
    return LinkLost(f"{location.label}: no connection to {host}:{port}: {reason}{fix}", reason=reason)
