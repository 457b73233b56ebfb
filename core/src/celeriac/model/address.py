"""Where a broker or a store is: a URL, taken apart once, its password masked wherever it is shown."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct, field

from celeriac.errors import ConfigurationError

__all__ = ["Address"]

_NEXT: Final = re.compile(r";(?=[a-zA-Z][\w+.-]*://)")
_PASSWORD: Final = re.compile(r"(://[^/@:]*):[^/]*?@(?=[^/@]*(?:[/;]|$))")


class Address(Struct, frozen=True, kw_only=True):
    """A parsed URL. `path` keeps its leading slash; `query` holds the last value of each parameter.

    `hosts` are all hosts and ports of a URL that names several: `sentinel://a:1;sentinel://b:2/0` or
    `redis+cluster://a:1,b:2`. The first is also `host` and `port`; the first user, password and path that are said
    are those of all.
    """

    scheme: str
    url: str
    user: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    hosts: tuple[tuple[str, int | None], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take `url` apart.

        Raises: ConfigurationError: it has no scheme or a port that is no number.
        """
        scheme, separator, _ = url.partition("://")
        if not separator:
            raise ConfigurationError(f"{url!r} is no URL: it needs a scheme, like sqlite:///queue.db.")
        pieces = [_Piece(piece) for piece in _NEXT.split(url)]
        hosts = tuple(host for piece in pieces for host in piece.hosts)
        return cls(
            scheme=scheme.lower(),
            url=url,
            user=next((piece.user for piece in pieces if piece.user is not None), None),
            password=next((piece.password for piece in pieces if piece.password is not None), None),
            host=hosts[0][0] if hosts else None,
            port=hosts[0][1] if hosts else None,
            path=next((piece.path for piece in pieces if piece.path), ""),
            query={name: value for piece in pieces for name, value in piece.query},
            hosts=hosts,
        )

    @property
    def masked(self) -> str:
        """The URL with its password replaced, fit for logs and errors."""
        if self.password is None:
            return self.url
        return _PASSWORD.sub(r"\1:**@", self.url)

    def __str__(self) -> str:
        return self.masked

    __repr__ = __str__


class _Piece:
    """One URL of those that an address consists of."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        user, colon, password = credentials.partition(":")
        self.user = unquote(user) if "@" in parts.netloc else None
        self.password = unquote(password) if colon else None
        self.hosts = [_host(host, parts.scheme) for host in hosts.split(",") if host]
        self.path = unquote(parts.path)
        self.query = parse_qsl(parts.query, keep_blank_values=True)


def _host(text: str, scheme: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"The port in the {scheme} URL is no number from 0 to 65535.") from error
    return parts.hostname or "", port
