"""Who works on a data set, and what each may do.

A data set without accounts is one where everybody may do everything, as whoever can open its folder can. With accounts,
a name that has none is a reader's. Passwords are kept as argon2id hashes (RFC 9106); an account without one is of
somebody whom a proxy lets in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, insert, select, update

from SpineLandmarksLib.errors import AccessError, BackendError, StoreError
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.audit import log_event
from SpineLandmarksLib.store.database import lock_all

if TYPE_CHECKING:
    from SpineLandmarksLib.store.store import Store

#: Each may do what those before it may.
ROLES = ("reader", "lead", "administrator")
MIN_PASSWORD = 10


@dataclass(frozen=True)
class Account:
    """role: one of ROLES; None where the data set has no accounts."""

    name: str
    role: str | None

    @property
    def is_lead(self) -> bool:
        """Whether there are leads, and this is one."""
        return self.role in ROLES[1:]

    def may(self, role: str) -> bool:
        """Whether this person may do what takes such a role."""
        return self.role is None or ROLES.index(self.role) >= ROLES.index(role)


def account_of(connection: Connection, name: str) -> Account:
    """As `one_of` has it, of those who have accounts now."""
    return one_of(_all(connection), name)


def require_role(connection: Connection, name: str, role: str, to_do: str) -> None:
    """Raise AccessError where this person may not."""
    account = account_of(connection, name)
    if not account.may(role):
        raise AccessError(f"Expected a {role} to {to_do}; {name} is a {account.role}. Ask a {role}")


def accounts(store: Store) -> list[Account]:
    """By name; none where everybody may do everything."""
    with store.snapshot() as connection:
        return _all(connection)


def one_of(known: Sequence[Account], name: str) -> Account:
    """The account of this name; that of a reader where there are others only, and of anybody where there are none."""
    return next((one for one in known if one.name == name), Account(name, ROLES[0] if known else None))


def find_account(store: Store, name: str) -> Account:
    with store.snapshot() as connection:
        return account_of(connection, name)


def set_account(store: Store, name: str, role: str, password: str | None, by: str) -> None:
    """Make an account, or give it another role or password; None keeps the password it has.

    Raises AccessError: not by an administrator; a password that is too short; the first one is no administrator.
    """
    name = _plain(name)
    hashed = None if password is None else _hash(password)
    with store.transaction() as connection:
        lock_all(connection)
        require_role(connection, by, "administrator", "change accounts")
        others = _administrators(connection, name)
        if role not in ROLES:
            raise AccessError(f"Expected a role of {', '.join(ROLES)}; got {role!r}")
        if role != ROLES[-1] and not others:
            raise AccessError(f"Expected an administrator among the accounts; make one before {name} is a {role}")
        values = {"role": role, **({} if hashed is None else {"password": hashed})}
        mine = t.accounts.c.name == name
        if connection.scalar(select(t.accounts.c.name).where(mine)):
            connection.execute(update(t.accounts).where(mine).values(values))
        else:
            connection.execute(insert(t.accounts).values(name=name, time=t.now(), **values))
        log_event(connection, by, "account", detail=f"{name}: {role}" + ", new password" * bool(hashed))


def remove_account(store: Store, name: str, by: str) -> None:
    """Take an account away; what the person did stays under the name."""
    with store.transaction() as connection:
        lock_all(connection)
        require_role(connection, by, "administrator", "change accounts")
        known = connection.scalar(select(t.accounts.c.name).where(t.accounts.c.name == name))
        if known is None:
            raise StoreError(f"Expected an account of {store.where}; got {name!r}")
        others = connection.scalar(select(func.count()).where(t.accounts.c.name != name))
        if others and not _administrators(connection, name):
            raise AccessError(f"Expected an administrator among the accounts; {name} is the only one")
        connection.execute(delete(t.accounts).where(t.accounts.c.name == name))
        log_event(connection, by, "account", detail=f"{name} has no account any more")


def check_password(store: Store, name: str, password: str) -> bool:
    """Whether this is the person's password. Takes as long where there is no such person."""
    with store.snapshot() as connection:
        hashed = connection.scalar(select(t.accounts.c.password).where(t.accounts.c.name == name))
    argon2 = _argon2()
    try:
        return bool(argon2.PasswordHasher().verify(hashed or _nobody(), password)) and hashed is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def password_marks(store: Store) -> dict[str, str]:
    """Of each account, by name, a mark that changes with its password and does not tell it."""
    with store.snapshot() as connection:
        rows = connection.execute(select(t.accounts.c.name, t.accounts.c.password)).all()
    return {row.name: sha256((row.password or "").encode()).hexdigest()[:16] for row in rows}


def _all(connection: Connection) -> list[Account]:
    rows = connection.execute(select(t.accounts.c.name, t.accounts.c.role).order_by(t.accounts.c.name))
    return [Account(row.name, row.role) for row in rows]


def _administrators(connection: Connection, but: str) -> int:
    c = t.accounts.c
    which = (c.role == ROLES[-1]) & (c.name != but)
    return connection.scalar(select(func.count()).select_from(t.accounts).where(which)) or 0


def _plain(name: str) -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > 100 or not plain.isprintable():
        raise AccessError(f"Expected a name of 1 to 100 letters; got {name[:20]!r}")
    return plain


def _hash(password: str) -> str:
    if len(password) < MIN_PASSWORD:
        raise AccessError(f"Expected a password of {MIN_PASSWORD} characters or more; got {len(password)}")
    return str(_argon2().PasswordHasher().hash(password))


_NOBODY: list[str] = []


def _nobody() -> str:
    """A hash that nobody's password has, so that a guess takes as long."""
    if not _NOBODY:
        _NOBODY.append(_hash("no password of anybody"))
    return _NOBODY[0]


def _argon2() -> Any:
    try:
        import argon2
    except ImportError as error:
        raise BackendError("Accounts need argon2. Install: pip install 'spine-landmarks[review]'") from error
    return argon2
