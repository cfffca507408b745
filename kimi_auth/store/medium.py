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

__all__ = [
    "create_durably",
    "explain",
    "make_directories",
    "overwrite_durably",
    "read_bounded",
    "refuse_fixed",
    "remove_durably",
    "reporting",
    "touch",
    "write_durably",
]

P = ParamSpec("P")
T = TypeVar("T")

_NOT_A_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})


def explain(error: OSError, doing: str, path: Path, kind: type[StorageError]) -> StorageError:
    """`error` as a `kind`: the operation, the file, the reason and the next step."""
    if isinstance(error, files.Unfit):
        return (StoreUnwritable if isinstance(error, files.Fixed) else StorageError)(str(error), hint=error.hint)
    words, hint = files.reason(error, path)
    return kind(f"cannot {doing} {path}: {words}", hint=hint)


@contextmanager
def reporting(doing: str, path: Path, kind: type[StorageError] = StoreUnwritable) -> Iterator[None]:
    """Turns an `OSError` of its body into a `kind`; a file that fails the rules of `kimi_auth.files` keeps its own
    message."""
    try:
        yield
    except OSError as error:
        raise explain(error, doing, path, kind) from error


def read_bounded(path: Path, limit: int) -> files.Found | None:
    """`files.read_bounded`. Raises CorruptCredential for a non-file or more than `limit` bytes, StorageError for a
    file that cannot be read or belongs to another user."""
    try:
        return files.read_bounded(path, limit)
    except (files.NotAFile, files.TooLarge) as error:
        raise CorruptCredential(str(error)) from error
    except OSError as error:
        if error.errno in _NOT_A_FILE:  # no own hint: a login moves it away by itself
            raise CorruptCredential(f"cannot read {path}: {files.reason(error, path)[0]}") from error
        raise explain(error, "read", path, StorageError) from error


def _guarded(doing: str, call: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    @wraps(call)
    def guarded(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with reporting(doing, path):
            return call(path, *args, **kwargs)

    return guarded


create_durably = _guarded("write", files.create_durably)
make_directories = _guarded("make the directory", files.make_directories)
refuse_fixed = _guarded("replace", files.refuse_fixed)
overwrite_durably = _guarded("write", files.overwrite_durably)
remove_durably = _guarded("remove", files.remove_durably)
touch = _guarded("make", files.touch)
write_durably = _guarded("write", files.write_durably)
