"""The files of a run: renamed into place when whole, and read with an error of one line."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqvae_core.errors import CheckpointError

__all__ = [
    "FORMAT",
    "check_digest",
    "digest",
    "digest_tensors",
    "load_weights",
    "read_json",
    "reading",
    "save_weights",
    "write_atomic",
    "writing",
]

FORMAT = 1


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a file that is written into a `CheckpointError`."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}; what was written before is kept"
        ) from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(f"cannot read {path}: {reason}") from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it into place.

    Args:
        path: the file; its folder is made.
        content: text, written as UTF-8, or bytes.

    Raises:
        CheckpointError: if the disk refuses; the old file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_json(path: Path, *, missing: Any = None) -> Any:
    """Return what a JSON file of a run holds, or `missing` if that is given and there is no file.

    Raises:
        CheckpointError: if it cannot be read.
    """
    if missing is not None and not path.is_file():
        return missing
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


# Weights -----------------------------------------------------------------------------------------


def save_weights(path: Path, modules: Mapping[str, nn.Module], about: Mapping[str, Any]) -> None:
    """Write modules to one safetensors file, with `about` as JSON in its header."""
    from safetensors.torch import save as pack

    tensors = {
        f"{prefix}.{key}": value.detach().cpu().clone().contiguous()
        for prefix, module in modules.items()
        for key, value in module.state_dict().items()
    }
    about = {"format": FORMAT, "digest": digest_tensors(tensors), **about}
    write_atomic(path, pack(tensors, metadata={"seqvae": json.dumps(about)}))


def load_weights(path: Path, modules: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Fill modules from a file of `save_weights` and return what it says about itself.

    Raises:
        CheckpointError: if it is missing, damaged, of another format, or of another model.
    """
    from safetensors import safe_open

    with reading(path), safe_open(str(path), framework="pt") as file:
        about: dict[str, Any] = json.loads((file.metadata() or {}).get("seqvae", "{}"))
        if (found := about.get("format")) != FORMAT:
            raise CheckpointError(
                f"{path} has checkpoint format {found}, this version of seqvae reads {FORMAT}"
            )
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        check_digest(path, digest_tensors(tensors), about.get("digest"))
    for prefix, module in modules.items():
        wanted = module.state_dict()
        start = f"{prefix}."
        found = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        wrong = wanted.keys() ^ found.keys()
        wrong |= {k for k in wanted.keys() & found.keys() if wanted[k].shape != found[k].shape}
        if wrong:
            raise CheckpointError(
                f"weights {path} do not fit the experiment's {prefix}: {len(wrong)} tensors "
                f"differ, {min(wrong)} among them"
            )
        module.load_state_dict(found)
    return about


def digest(*parts: bytes) -> str:
    """Return a checksum: it finds damage, and is no signature."""
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a checksum over the names, types, shapes and bytes of tensors."""
    return digest(*(
        part
        for name, value in sorted(tensors.items())
        for part in (f"{name} {value.dtype} {tuple(value.shape)}".encode(),
                     value.reshape(-1).view(torch.uint8).numpy().tobytes())
    ))  # fmt: skip


def check_digest(path: Path, found: str, expected: Any) -> None:
    """Raise `CheckpointError` unless the two checksums are equal."""
    if found != expected:
        raise CheckpointError(f"{path} is damaged: its content is not what was written")
