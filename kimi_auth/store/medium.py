"""The store's port to the disk: `kimi_auth.files`, with every `OSError` turned into a `StorageError` with a next
step."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from kimi_auth import files
from kimi_auth.errors import CorruptCredential, StorageError, StoreUnwritable
from kimi_auth.support.language import Sentence, said_by, tr

__all__ = [
    "create_durably",
    "doing",
    "explain",
    "make_directories",
    "overwrite_durably",
    "read_bounded",
    "reading",
    "refuse_fixed",
    "remove_durably",
    "touch",
    "write_durably",
]

P = ParamSpec("P")
T = TypeVar("T")
At = TypeVar("At", bound=files.Where)

_NOT_A_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})


def explain(error: OSError, failure: Sentence, path: Path, kind: type[StorageError]) -> StorageError:
    """The disk's `error` as a `kind`: `failure` ("cannot read {path}"), the reason and the next step."""
    if isinstance(error, files.Unfit):
        return (StoreUnwritable if isinstance(error, files.Fixed) else StorageError)(said_by(error), hint=error.hint)
    words, hint = files.reason(error, path)
    return kind(tr("{failure}: {reason}", failure=failure.format(path=path), reason=words), hint=hint)


@contextmanager
def doing(failure: Sentence, path: Path, kind: type[StorageError] = StoreUnwritable) -> Iterator[None]:
    """Turns an `OSError` of its body into a StorageError, a `kind`, as `explain`; a file that fails the rules of
    `kimi_auth.files` keeps its own message."""
    try:
        yield
    except OSError as error:
        raise explain(error, failure, path, kind) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns a failed read of the disk into CorruptCredential, for a non-file or too large a file, or StorageError, for
    a file that cannot be read or belongs to another user."""
    try:
        yield
    except (files.NotAFile, files.TooLarge) as error:
        raise CorruptCredential(said_by(error)) from error
    except OSError as error:
        if error.errno in _NOT_A_FILE:  # no own hint: a login moves it away by itself
            raise CorruptCredential(
                tr("cannot read {path}: {error}", path=path, error=files.reason(error, path)[0])
            ) from error
        raise explain(error, tr("cannot read {path}"), path, StorageError) from error


def read_bounded(where: files.Where, limit: int) -> files.Found | None:
    """`files.read_bounded` with the errors of `reading`."""
    with reading(files.path_of(where)):
        return files.read_bounded(where, limit)


def _guarded(failure: Sentence, call: Callable[Concatenate[At, P], T]) -> Callable[Concatenate[At, P], T]:
    @wraps(call)
    def guarded(where: At, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with doing(failure, files.path_of(where)):
            return call(where, *args, **kwargs)

    return guarded


create_durably = _guarded(tr("cannot write {path}"), files.create_durably)
make_directories = _guarded(tr("cannot make the directory {path}"), files.make_directories)
refuse_fixed = _guarded(tr("cannot replace {path}"), files.refuse_fixed)
overwrite_durably = _guarded(tr("cannot write {path}"), files.overwrite_durably)
remove_durably = _guarded(tr("cannot remove {path}"), files.remove_durably)
touch = _guarded(tr("cannot make {path}"), files.touch)
write_durably = _guarded(tr("cannot write {path}"), files.write_durably)
