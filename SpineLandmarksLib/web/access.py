"""Who may talk to the reviewer: whoever has this start's key, from a page of its own, on this computer unless asked.

Any web page that is open on the same computer can send requests to it. Three things stop them: a random key, which the
address on the terminal carries and a cookie keeps; the Origin header, which a browser sets and a page cannot; the Host
header, which gives away a page that had its own name resolve to this computer (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from SpineLandmarksLib.arguments import is_loopback
from SpineLandmarksLib.errors import AccessError

#: The parameter of the address. A cookie takes its place at once, so that no other has it.
PARAMETER = "secret"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
#: For every answer. The page's own scripts need `eval` (templates) and inline styles; nothing may come from elsewhere.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with none at all, a form of the own page would come without its origin
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self'; frame-ancestors 'self'; form-action 'self'",
}


@dataclass(frozen=True)
class AccessDecision:
    """reason: why it is refused, "" when it is not. is_new: the key came with the address, so a cookie is to be set."""

    reason: str = ""
    is_new: bool = False


@dataclass(frozen=True)
class Access:
    """host: that is listened on. is_tls: whether the page is https. key: of this start.

    is_behind_proxy: whether https may reach it although it speaks http, and names that only the proxy knows.
    names: of this computer for others, beside its own.
    """

    host: str = "127.0.0.1"
    is_tls: bool = False
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    is_behind_proxy: bool = False
    names: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        return "https" if self.is_tls else "http"

    def cookie(self, port: int) -> str:
        """Its name. Cookies of one computer are shared by all ports, so the port is part of it."""
        return f"spine-landmarks-{port}"

    def addresses(self, port: int) -> list[str]:
        """What to open: here, and from other computers where those are let in under a name that this one knows."""
        if self.host not in ("0.0.0.0", "::"):
            return [self._address(self.host, port)]
        return [self._address(host, port) for host in ("localhost", *(self.names or (socket.gethostname(),)))]

    def _address(self, host: str, port: int) -> str:
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}/?{PARAMETER}={self.key}"

    def decide(
        self, headers: Mapping[str, str], query: Mapping[str, str], cookies: Mapping[str, str]
    ) -> AccessDecision:
        """Whether a request may pass; every request is asked, the handshake of the websocket too."""
        host, reason = headers.get("Host", ""), self.refuses(headers)
        if reason:
            return AccessDecision(reason)
        if self._is_key(query.get(PARAMETER)):
            return AccessDecision(is_new=True)
        if self._is_key(cookies.get(self.cookie(_port(host, self.is_tls)))):
            return AccessDecision()
        return AccessDecision(
            "Expected the key of this start. Open the whole address that the terminal shows; each start has a new one"
        )

    def refuses(self, headers: Mapping[str, str]) -> str:
        """Why a request is none of the reviewer's own page, whoever sends it; "" where it may be."""
        host = headers.get("Host", "")
        if not self._is_own(_name(host)):
            return (
                "Expected a request to this computer by its own name. Open the address on the terminal; another name "
                "that it has is told at the start, with --name"
            )
        origin = headers.get("Origin")
        if origin is not None and origin not in self._origins(host):
            return "Expected a request from the reviewer's own page; another page sent this one"
        return ""

    def _is_own(self, name: str) -> bool:
        """An address is nobody's to bend to this computer, a name is."""
        if name in (*LOOPBACK_NAMES, self.host.lower(), *map(str.lower, self.names)):
            return True
        if self.is_behind_proxy and not self.names:
            return True
        here = socket.gethostname().lower()
        return not is_loopback(self.host) and (name in (here, f"{here}.local") or _is_address(name))

    def _origins(self, host: str) -> tuple[str, ...]:
        """Of the reviewer's own page, which a proxy may have made https."""
        behind_proxy = not self.is_tls and (self.is_behind_proxy or not is_loopback(self.host))
        return tuple(f"{scheme}://{host}" for scheme in (self.scheme, *(("https",) if behind_proxy else ())))

    def _is_key(self, text: str | None) -> bool:
        return text is not None and secrets.compare_digest(text.encode(), self.key.encode())


def check_exposure(host: str, certificate: Path | None, key: Path | None, without_tls: bool) -> None:
    """Raise AccessError where others could listen in or reach more than was asked for."""
    if (certificate is None) != (key is None):
        raise AccessError("Expected both --tls-cert and --tls-key; got one of them")
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise AccessError(f"Expected a PEM file at {file}; there is none")
    if not is_loopback(host) and certificate is None and not without_tls:
        raise AccessError(
            f"Expected --tls-cert and --tls-key for --host {host}, which other computers reach: without "
            "them anybody on the way can read the images and the key. Behind a proxy that adds TLS, say "
            "--without-tls"
        )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _port(host: str, is_tls: bool) -> int:
    try:
        return urlsplit(f"//{host}").port or (443 if is_tls else 80)
    except ValueError:
        return 0
