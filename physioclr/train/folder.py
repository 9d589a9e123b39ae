"""The folder of a run: made or checked when a run begins, described, read again; one `pretrain` at a time.

config.yaml          every key of the configuration
run.json             what the network expects: leads, rate, high-pass, input SD; the store; versions; parameters
records.txt          ids of the training records, one a line
feature_space.npz    the feature space fitted on them
beat_space.npz       the same for their average beats, where they are compared
kernel_space.npz     the kernel components of both, where these are what is predicted
metrics.csv, loss.png
checkpoints/step_*/  model.safetensors, optimizer.pt, state.json
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import FeatureSpace, __version__
from .._files import DamagedFile, file_entry, lock
from . import checkpoint
from .beats import BEATS as BEATS
from .config import GIVEN, RESUMABLE, Config
from .dataset import Segments
from .files import (
    check_entry,
    check_fields,
    check_seal,
    is_count,
    is_finite,
    is_positive,
    json_text,
    read_json,
    read_lines,
    read_space,
)
from .kernel_space import KERNEL as KERNEL
from .methods import Method

CONFIG, INFO, RECORDS, SPACE, METRICS, PICTURE, DIVERGED = (
    "config.yaml", "run.json", "records.txt", "feature_space.npz", "metrics.csv", "loss.png", "diverged.json",
)  # fmt: skip
FITTED = (RECORDS, SPACE, BEATS, KERNEL)  # what is there before the first step and never changes

_FIELDS = {
    "leads": (lambda x: isinstance(x, list) and x != [] and all(isinstance(v, str) for v in x), "a list of lead names"),
    "fs": (is_positive, "a number above 0, Hz"),
    "samples": (lambda x: is_count(x) and x > 0, "an integer above 0"),
    "input_sd": (is_positive, "a number above 0, mV"),
    "records": (is_count, "a number of records"),
    "records_crc32": (is_count, "a checksum"),
    "store": (lambda x: isinstance(x, str), "a text"),
    "highpass": (is_finite, "a number, Hz"),
}


class RunFolder:
    """A run's folder on disk. Whatever it reads is checked: a file that is damaged is a `DamagedFile` that names it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def begun(self) -> bool:
        return (self.path / INFO).is_file()

    @property
    def configured(self) -> bool:
        """Whether it is known what the run is to be, before or after it was begun."""
        return self.begun or (self.path / CONFIG).is_file()

    # ---- making it

    def make(self, resume: bool) -> None:
        """Make the folder, or see that it may be used.

        Raises:
            FileExistsError: it is a file, or holds something and is not to be resumed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"out is {str(self.path)!r}, a file; it must be a folder")
        if not resume and self.path.is_dir() and any(not p.name.endswith(".lock") for p in self.path.iterdir()):
            raise FileExistsError(
                f"out {str(self.path)!r} is not empty; resume the run in it, or choose another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, INFO, RECORDS, SPACE, METRICS, PICTURE):
            if (self.path / name).is_dir():
                raise DamagedFile(self.path / name, "it is a folder")

    @contextlib.contextmanager
    def alone(self, resume: bool) -> Iterator[None]:
        """Makes the folder, and keeps a second `pretrain` out of it meanwhile."""
        found = self.path.exists()
        self.make(resume)
        try:
            with lock(self.path, "pretrain", command="pretrain", remove=True):
                yield
        finally:
            if not found:
                with contextlib.suppress(OSError):  # it goes if nothing was begun in it
                    self.path.rmdir()

    def open(self, segments: Segments, config: Config, method: Method, resume: bool, about: dict[str, Any]) -> None:
        """Begin a run, with what is fitted on its records, or see that this one goes on as it began.

        about: what run.json says besides, and a resumed run must have alike.

        Raises:
            ValueError: another configuration, other records, or a method with other parameters.
        """
        self.make(resume)
        ids = [str(i) for i in np.asarray(segments.store.table["record_id"])[segments.records]]
        begun = self.begun
        if not begun and checkpoint.latest(self.path) is not None:
            raise DamagedFile(self.path / INFO, "it is missing")
        if begun:
            self._check_same(ids, config, about)
            checkpoint.clean(self.path)
        text = config.to_yaml()  # first: what follows may be stopped
        checkpoint.write_atomically(self.path / CONFIG, text + _SUM.format(zlib.crc32(text.encode())))
        if not begun:
            self._fit(segments, config, method)
            checkpoint.write_atomically(self.path / RECORDS, "".join(f"{i}\n" for i in ids))
            # last: a folder with run.json has everything else
            files = {n: file_entry(self.path / n) for n in FITTED if (self.path / n).is_file()}
            stated = {**describe(segments, config, ids), **about, "config": config.as_dict(), "files": files}
            checkpoint.write_atomically(self.path / INFO, json_text(stated))

    def _fit(self, segments: Segments, config: Config, method: Method) -> None:
        features = segments.training_features()
        space = FeatureSpace.fit(features, config.feature_components, config.feature_weights)
        space.save(self.path / SPACE)  # and loaded from there, so that a resumed run has the same bits
        segments.feature_space = space
        method.fit(segments, config, self.path)

    def _check_same(self, ids: list[str], config: Config, about: dict[str, Any]) -> None:
        where = f"the run in {str(self.path)!r}"
        begun_with = self.config()
        if begun_with.encoder == GIVEN and config.encoder != GIVEN:
            raise ValueError(
                f"{where} has an encoder that was passed to it; pass it again: pretrain(..., encoder=module)"
            )
        differences = config.differences(begun_with)
        if differences:
            text = "; ".join(f"{k} is {new!r} and was {old!r}" for k, (new, old) in differences.items())
            raise ValueError(f"{where} cannot go on with another configuration: {text}")
        info = self.info()
        if info["records_crc32"] != _crc(ids):
            raise ValueError(
                f"{where} was begun on {info['records']} records of {info['store']!r}; "
                f"the {len(ids)} records given now are not the same"
            )
        for name in sorted({*about, *(k for k in ABOUT if k in info)}):
            new, old = about.get(name), info.get(name)
            if new != old:
                raise ValueError(f"{where} cannot go on with another {name}: it is {new!r} and was {old!r}")

    # ---- reading it

    def config(self) -> Config:
        """Of config.yaml, whose last line is a checksum of the others, and which says what run.json says it did."""
        path = self.path / CONFIG
        try:
            config = Config.load(path)
            lines = path.read_bytes().decode("utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            raise DamagedFile(path, "it is a folder" if path.is_dir() else "it is missing") from None
        except (ValueError, TypeError) as e:
            raise DamagedFile(path, str(e).removeprefix(f"{path}: ")) from None
        said = {line.partition(":")[0] for line in lines if line[:1].isalpha()}
        if not said:
            raise DamagedFile(path, "it has no keys")
        seal = re.fullmatch(_SUM.format(0).strip().replace("00000000", "([0-9a-f]{8})"), lines[-1].strip())
        if seal and int(seal[1], 16) != zlib.crc32("".join(lines[:-1]).encode()):
            raise DamagedFile(path, f"its lines do not have the checksum of its last line, {seal[1]}")
        stated = self.info().get("config") if self.begun else None
        if isinstance(stated, dict):
            mine = config.as_dict()
            for key, value in stated.items():
                if key not in said:
                    raise DamagedFile(path, f"it has no key {key}")
                if key in mine and mine[key] != value and key not in RESUMABLE:
                    raise DamagedFile(path, f"key {key} is {mine[key]!r}; it must be {value!r}, as {INFO} says")
        return config

    def info(self) -> dict[str, Any]:
        info = read_json(self.path / INFO)
        check_fields(self.path / INFO, info, _FIELDS)
        check_seal(self.path / INFO, info)
        return info

    def record_ids(self) -> list[str]:
        ids = read_lines(self.path / RECORDS)
        if _crc(ids) != self.info()["records_crc32"]:
            raise DamagedFile(self.path / RECORDS, f"its checksum is not the records_crc32 of {INFO}")
        return ids

    def feature_space(self) -> FeatureSpace:
        space = read_space(FeatureSpace, self.path / SPACE)
        self.check_file(SPACE)
        return space

    def check_file(self, *names: str) -> None:
        """Files beside run.json, by default all that it tells of, against the checksums there."""
        files = self.info().get("files")
        if isinstance(files, dict):
            for name in names or files.keys() & set(FITTED):
                check_entry(self.path / name, files.get(name), INFO)


_SUM = "# CRC-32 of the lines above: {:08x}\n"  # the end of config.yaml; whoever edits it takes it away
ABOUT = ("method_settings", "encoder_module")  # what run.json says of a user's own


def describe(segments: Segments, config: Config, ids: list[str]) -> dict[str, Any]:
    """What run.json says of a run with these records."""
    store = segments.store
    return {
        "format": 1,
        "store": str(getattr(store, "path", "")),
        "leads": list(store.leads),
        "fs": float(store.fs),
        "samples": segments.samples,
        "highpass": config.highpass,
        "input_sd": segments.input_sd(),
        "records": len(ids),
        "records_crc32": _crc(ids),
        "records_too_short": segments.left_out,
        "pairs": len(segments),
        "versions": {"physioclr": __version__, "torch": torch.__version__},
    }


def _crc(ids: list[str]) -> int:
    return zlib.crc32("\n".join(ids).encode())
