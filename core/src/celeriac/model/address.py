"""Where a broker or a store is: a URL, taken apart once, its password masked wherever it is shown."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct, field

from celeriac.errors import ConfigurationError

__all__ = ["Address"]


class Address(Struct, frozen=True, kw_only=True):
    """A parsed URL. `path` keeps its leading slash; `query` holds the last value of each parameter."""

    scheme: str
    url: str
    user: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take `url` apart.

        Raises: ConfigurationError: it has no scheme or a port that is no number.
        """
        scheme, separator, _ = url.partition("://")
        if not separator:
            raise ConfigurationError(f"{url!r} is no URL: it needs a scheme, like sqlite:///queue.db.")
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"The port in the {scheme} URL is no number from 0 to 65535.") from error
        return cls(
            scheme=scheme.lower(),
            url=url,
            user=unquote(parts.username) if parts.username is not None else None,
            password=unquote(parts.password) if parts.password is not None else None,
            host=parts.hostname,
            port=port,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        )

    @property
    def masked(self) -> str:
        """The URL with its password replaced, fit for logs and errors."""
        if self.password is None:
            return self.url
        head, _, tail = self.url.partition("://")
        authority, slash, rest = tail.partition("/")
        credentials, _, place = authority.rpartition("@")
        return f"{head}://{credentials.partition(':')[0]}:**@{place}{slash}{rest}"

    def __str__(self) -> str:
        return self.masked

    __repr__ = __str__
