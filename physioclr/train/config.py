"""The configuration of a run: one flat dataclass, read from and written to YAML, changed by key=value overrides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from . import own
from .methods import BUILT_IN

METHODS = tuple(BUILT_IN)
UNTRAINED = tuple(name for name, method in BUILT_IN.items() if not method.trained)
GIVEN = "given"  # the encoder is a module that the caller of `pretrain` passed
ENCODERS = ("resnet1d", "transformer", GIVEN)
NAMED = ("fast", "beats", "predict", "predict12", "kernel12", "published")  # configs/

# What may differ between a run and its continuation: nothing here changes the steps already made or still to come,
# except that a longer run moves the end of a cosine schedule.
RESUMABLE = ("epochs", "steps", "device", "log_every", "checkpoint_every", "keep_checkpoints", "workers", "cache_mb",
             "compile")  # fmt: skip


def _key(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    own: str = "",
) -> Any:  # fmt: skip
    """A field with its range. The help text is what documentation and error messages say.

    own: what a user may name as "package.module:name" beside the choices.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "own": own}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass
class Config:
    """Everything that decides a run besides its store. The defaults are those of configs/fast.yaml."""

    method: str = _key("physioclr", "what is trained; random and features: nothing, baselines; or package.module:Class",
                       choices=METHODS, own="Class")  # fmt: skip
    scheme: str = _key("", "supervised: the label scheme; empty: the one that applies to most records")
    seed: int = _key(0, "of the weights, the order and the views", low=0)

    # ---- encoder
    encoder: str = _key("resnet1d", "architecture; or package.module:factory; given: the module passed to pretrain",
                        choices=ENCODERS, own="factory")  # fmt: skip
    channels: list[int] = _key([32, 64, 128], "resnet1d: width of each stage", low=1)  # noqa: RUF009
    blocks: int = _key(1, "resnet1d: residual blocks in each stage", low=1)
    norm: str = _key("batch", "resnet1d: normalisation; group: no row depends on its batch", choices=("batch", "group"))
    width: int = _key(768, "transformer: width", low=1)
    layers: int = _key(12, "transformer: layers", low=1)
    heads: int = _key(8, "transformer: attention heads", low=1)
    ffn: int = _key(3072, "transformer: width of the feed-forward layers", low=1)
    dropout: float = _key(0.1, "transformer: dropout", low=0, high=0.9)
    projection: int = _key(128, "size of the embedding in the contrastive term; 0: the pooled embedding itself", low=0)

    # ---- loss
    tau: float = _key(0.1, "temperature", low=1e-3)
    delta: float = _key(0.25, "similarity from which another record's segment is a positive", low=-1, high=1)
    mode: str = _key("ratio", "contrastive form", choices=("ratio", "supcon", "soft"))
    tau_s: float = _key(0.1, "soft: temperature of the targets", low=1e-3)
    pair_reduction: str = _key("sum", "feature pairs in the positive term", choices=("sum", "mean"))
    alpha: float = _key(0.2, "weight of the reconstruction", low=0)
    beta: float = _key(0.1, "weight of the reconstruction at the R peaks", low=0)
    gamma: float = _key(0.0, "weight of predicting the target from the embedding (not in the paper)", low=0)
    target: str = _key("features", "what gamma predicts: features; kernel: principal components of the similarity of "
                       "features and average beats", choices=("features", "kernel"))  # fmt: skip
    shuffle: bool = _key(True, "the heartbeat-shuffled view")
    shuffle_cut: str = _key("r", "where beats are cut", choices=("r", "tp"))
    adjacent: bool = _key(True, "the adjacent segment as a view")
    feature_pairs: bool = _key(True, "positives by physiology; off: every other record's segment is a negative")
    feature_leads: list[str] = _key(["II", "V1", "V5"], "leads whose features are compared")  # noqa: RUF009
    feature_set: str = _key("segment", "the 59 columns per segment, or all 159", choices=("segment", "all"))
    feature_weights: str = _key("default", "column weights of the feature space", choices=("default", "released"))
    feature_components: int = _key(50, "dimensions of the feature space", low=1)
    beat_weight: float = _key(0.0, "average beat beside the features in the similarity; 0: features alone", low=0)

    # ---- views
    augment: str = _key("leads", "leads: random lead masking (published); preserving: Augment.preserving()",
                        choices=("leads", "preserving", "none"))  # fmt: skip
    lead_mask: float = _key(0.5, "augment=leads: probability of masking a lead; two always remain", low=0, high=1)

    # ---- data
    batch_size: int = _key(128, "segments in a batch, two of each record drawn", low=4)
    epochs: int = _key(20, "passes over the records; steps goes before it", low=1)
    steps: int = _key(0, "optimiser steps; 0: as many as epochs asks for", low=0)
    accumulate: int = _key(1, "batches per optimiser step; adds no negatives", low=1)
    chunk: int = _key(0, "segments encoded at a time, in two passes, with the whole gradient; 0: all", low=0)
    exclude_folds: list[int] = _key([], "records of these folds are kept out of the training")  # noqa: RUF009
    highpass: float = _key(0.5, "corner of the zero-phase high-pass in front of the network, Hz", low=0.05, high=5)
    decimate: int = _key(1, "the network sees every decimate-th sample, after a low-pass; features keep all", low=1)
    cache_mb: int = _key(2048, "memory for filtered records; those beyond it are read again in each epoch", low=0)
    workers: int = _key(1, "threads that read ahead", low=0)
    resident: bool = _key(False, "all training segments as int16 in the memory of the training device")

    # ---- optimiser
    optimizer: str = _key("adamw", "adam: weight decay in the gradient; adamw: apart", choices=("adam", "adamw"))
    lr: float = _key(1e-3, "learning rate", low=0)
    beta1: float = _key(0.9, "Adam", low=0, high=0.9999)
    beta2: float = _key(0.98, "Adam", low=0, high=0.99999)
    weight_decay: float = _key(0.01, "weight decay", low=0)
    schedule: str = _key("cosine", "of the learning rate after the warm-up", choices=("constant", "cosine"))
    warmup: int = _key(10, "steps of linear warm-up", low=0)
    clip: float = _key(1.0, "largest norm of the gradient; 0: as it is", low=0)
    amp: bool = _key(False, "bfloat16 in encoder and decoder; losses stay float32")
    compile: bool = _key(False, "torch.compile the encoder")
    device: str = _key("auto", "auto: CUDA where there is a device, otherwise the CPU; or a torch device")

    # ---- run folder
    log_every: int = _key(1, "steps between rows of metrics.csv", low=1)
    checkpoint_every: int = _key(100, "steps between checkpoints", low=1)
    keep_checkpoints: int = _key(2, "checkpoints kept", low=1)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            setattr(self, f.name, _checked(f, getattr(self, f.name)))
        if self.batch_size % 2:
            raise ValueError(f"batch_size is {self.batch_size}; it must be even, two adjacent segments of each record")
        if self.method in BUILT_IN:  # nothing of a user's is imported here: a run can be read without it
            BUILT_IN[self.method]().check(self)
        if not self.feature_pairs and self.mode == "soft":
            raise ValueError("feature_pairs is false with mode 'soft', whose targets are the feature similarities")
        if not self.feature_pairs and self.beat_weight:
            raise ValueError("feature_pairs is false with beat_weight above 0, which is of the feature pairs")
        if not self.feature_leads:
            raise ValueError("feature_leads is empty; it must name at least one lead")

    def replace(self, **changes: Any) -> Config:
        """A copy with these keys changed, checked like a new one."""
        _known(changes)
        return dataclasses.replace(self, **changes)

    def override(self, settings: Iterable[str]) -> Config:
        """A copy changed by "key=value" texts; values are read as YAML (`delta=0.4`, `feature_leads=[II]`)."""
        changes = {}
        for text in settings:
            key, equals, value = text.partition("=")
            key = key.strip()
            if not equals:
                raise ValueError(f"setting {text!r} has no '='; it must be key=value")
            _known([key])
            try:
                changes[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise ValueError(f"{key} is {value!r}; it cannot be read as a YAML value") from None
        return self.replace(**changes)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """All keys in their order, one a line."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, default_flow_style=None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "config") -> Config:
        """Keys left out take their default; an unknown one is an error."""
        if not isinstance(values, Mapping):
            raise ValueError(f"{source} holds a {type(values).__name__}; it must be a mapping of keys to values")
        _known(values, source)
        try:
            return cls(**values)
        except (TypeError, ValueError) as e:
            raise type(e)(f"{source}: {e}") from None

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a YAML file, or a configuration of this package, one of NAMED."""
        if str(path) in NAMED:
            file = resources.files("physioclr.train") / "configs" / f"{path}.yaml"
        else:
            file = Path(path)
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as e:
            raise FileNotFoundError(f"config {str(path)!r} cannot be read: {e.strerror}") from None
        except yaml.YAMLError as e:
            raise ValueError(f"config {str(path)!r} is not valid YAML: {e}") from None
        return cls.from_dict({} if values is None else values, str(path))

    def differences(self, other: Config) -> dict[str, tuple[object, object]]:
        """The keys on which a resumed run would differ from the first part: key -> (self, other)."""
        mine, theirs = self.as_dict(), other.as_dict()
        return {k: (mine[k], theirs[k]) for k in mine if mine[k] != theirs[k] and k not in RESUMABLE}


def help_text() -> dict[str, str]:
    """key -> what it does, for the command line's help and the documentation."""
    return {f.name: f.metadata["help"] for f in dataclasses.fields(Config)}


def describe(width: int = 0) -> str:
    """One line a key: type, range or choices, default, and what it does. width: of the column of names."""
    lines = []
    for f in dataclasses.fields(Config):
        limits = f.metadata
        default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        kind = str(f.type).replace("list[", "list of ").removesuffix("]")
        if limits["choices"]:
            kind = " | ".join([*limits["choices"], *([f"package.module:{limits['own']}"] if limits["own"] else [])])
        low, high = limits["low"], limits["high"]
        if low is not None:
            kind += f" from {low:g}" + ("" if high is None else f" to {high:g}")
        shown = yaml.safe_dump(default, default_flow_style=True).partition("\n")[0]
        lines.append(f"{f.name + ':':{width}} {kind}; default {shown}; {f.metadata['help']}")
    return "\n".join(lines)


Config.__doc__ = f"{Config.__doc__}\n\n    " + describe().replace("\n", "\n    ") + "\n    "


def _known(keys: Iterable[str], source: str = "") -> None:
    names = [f.name for f in dataclasses.fields(Config)]
    for key in keys:
        if key not in names:
            import difflib

            near = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the keys are {', '.join(names)}"
            raise ValueError(f"{source}{': ' if source else ''}there is no key {key!r}{hint}")


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value as the field's type and within its range, or an error that names the key."""
    name, kind, limits = field.name, str(field.type), field.metadata
    if kind.startswith("list["):
        item = kind[5:-1]
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} is {value!r}; it must be a list of {item}")
        return [_scalar(name, item, v, limits, where=" in its list") for v in value]
    return _scalar(name, kind, value, limits)


def _scalar(name: str, kind: str, value: Any, limits: Mapping[str, Any], where: str = "") -> Any:
    if kind == "float" and isinstance(value, str):  # YAML 1.1 reads 5e-5 as a string
        try:
            value = float(value)
        except ValueError:
            pass
    types = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}[kind]
    if not isinstance(value, types) or (kind != "bool" and isinstance(value, bool)):
        article = "an" if kind == "int" else "a"
        word = {"int": "integer", "float": "number", "str": "string", "bool": "boolean (true or false)"}[kind]
        raise TypeError(f"{name} is {value!r}{where}; it must be {article} {word}")
    if kind == "float":
        value = float(value)
    if limits["choices"] and value not in limits["choices"] and not (limits["own"] and own.is_own(value)):
        yours = f", or package.module:{limits['own']}" if limits["own"] else ""
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, limits['choices']))}{yours}")
    if kind in ("int", "float"):
        low, high = limits["low"], limits["high"]
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            span = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} is {value!r}{where}; it must be {span if low is not None else 'finite'}")
    return value
