"""From columns of physiology to the space in which segments are compared: impute, scale, weigh, reduce."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from ._arrays import arrays_of, host_array, is_jax, is_torch, to_jax
from ._checks import FLOATS, check_dtype, check_int, shown
from ._estimator import Estimator, check_dense, names_of
from ._feature_names import BEAT_NAMES, FEATURE_NAMES, SEGMENT_NAMES
from .similarity import median_distance

if TYPE_CHECKING:
    from builtins import classmethod as fit_of_class  # the face of an object no checker can be told

    from ._types import ArrayT, NumPyArray, Table, Values
else:
    from ._estimator import fit_of_class

CLIP = 5.0
LARGEST, SMALLEST = (
    np.finfo(np.float32).max,
    np.finfo(np.float32).tiny,
)  # what lies beyond has no float32, or no inverse
ROWS = 16384  # rows worked on at a time: a training set may be larger than the memory left
LOG_NAMES = ("rmssd", "cv_rr")
FORMAT = "physioclr FeatureSpace 1"
# What `save` writes as numbers, with the shape: F input columns, C components.
_FIELDS = {
    "log": "F",
    "mean": "F",
    "scale": "F",
    "weights": "F",
    "matrix": "FC",
    "offset": "C",
    "explained_variance": "C",
    "sigma": "",
}


def default_weight(name: str) -> float:
    """Single beats add little beside the segment's statistics and drown what tells rhythms apart."""
    if name in BEAT_NAMES:
        return 0.2
    if name == "pct_p_absent":
        return 3.0
    return 0.5 if name.endswith(("_sd", "_iqr")) else 1.0


def column_names(width: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """The feature in each of `width` columns: `names` once for each lead, by default all 159 or the 59 of a segment."""
    sets = (FEATURE_NAMES, SEGMENT_NAMES) if names is None else (tuple(names),)
    unknown = sorted(set(sets[0]) - set(FEATURE_NAMES))
    if unknown:
        raise ValueError(f"names contains {unknown[0]!r}; it must be made of FEATURE_NAMES")
    if not sets[0]:
        raise ValueError("names is empty; it must name at least one feature")
    for one in sets:
        if width and width % len(one) == 0:
            return one * (width // len(one))
    sizes = " or ".join(f"k * {len(one)}" for one in sets)
    hint = "; for other columns give their names" if names is None else ""
    raise ValueError(f"features has {width} columns; it must have {sizes} (k concatenated leads){hint}")


def in_order(features: Any, names: Sequence[str] | None) -> Any:
    """A table whose columns have names: the columns in the order of `names` (FEATURE_NAMES or its part of a segment).

    Anything else, a table of numbered columns included, as it is: its columns go by position.
    """
    columns = names_of(features)
    if columns is None:
        return features
    if names is None:
        names = SEGMENT_NAMES if columns and not set(columns) & set(BEAT_NAMES) else FEATURE_NAMES
    if len(set(columns)) < len(columns) or len(set(names)) < len(names):  # several leads: names do not tell them apart
        if columns != list(names) * (len(columns) // len(names)):
            raise ValueError(
                "features has columns of the same name; those of each lead must be in the order of the names"
            )
        return features
    for what, found in (
        ("misses", [n for n in names if n not in columns]),
        ("has", [n for n in columns if n not in names]),
    ):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            must = (
                "; it must have every column of the space"
                if what == "misses"
                else ", which is none of the space's columns"
            )
            raise ValueError(f"features {what} the column {found[0]!r}{more}{must}")
    order = [columns.index(name) for name in names]
    return features if order == list(range(len(order))) else host_array(features, "features")[:, order]


def column_weights(weights: Any, columns: tuple[str, ...]) -> np.ndarray:
    if isinstance(weights, str):
        if weights not in ("default", "released"):
            raise ValueError(
                f"weights is {shown(weights)}; it must be 'default', 'released' or one number for each column"
            )
        return np.array([1.0 if weights == "released" else default_weight(name) for name in columns])
    w = np.asarray(weights, np.float64)
    if w.shape != (len(columns),):
        raise ValueError(f"weights has shape {w.shape}; it must be ({len(columns)},), one number for each column")
    if not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError("weights contains negative or infinite numbers; it must be finite and at least 0")
    return w


def pieces(x: np.ndarray, log: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of x in float64, ROWS at a time: missing (infinite, beyond float32) = NaN, log1p where it applies."""
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS].astype(np.float64)
        rows[~(np.abs(rows) <= LARGEST)] = np.nan
        rows[:, log] = np.log1p(np.maximum(rows[:, log], 0.0))
        yield rows


def moments(x: np.ndarray, log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and 1 / SD of the observed values of each column; 0 in place of 1 / SD where there is nothing to scale."""
    count = np.maximum(sum(np.isfinite(rows).sum(axis=0) for rows in pieces(x, log)), 1)
    mean = sum(np.nan_to_num(rows).sum(axis=0) for rows in pieces(x, log)) / count
    sd = np.sqrt(sum((np.nan_to_num(rows - mean) ** 2).sum(axis=0) for rows in pieces(x, log)) / count)
    constant = sd <= 1e-6 * np.abs(mean)  # what rounding leaves of equal float32 numbers
    return mean, np.divide(1.0, sd, out=np.zeros_like(sd), where=~constant & (sd >= SMALLEST))


class FeatureSpace(Estimator):
    """Physiological features as vectors whose cosine says how alike two segments are (METHOD: PhysioCLR's f).

    Column by column: log1p of RMSSD and CV; z-score with the training set's mean and SD of the observed values; missing
    = 0; clip at +-5; a weight. Then principal components, without whitening, all fitted on the training set. A row with
    everything missing becomes exactly 0. Whatever a constant or wholly missing column holds later counts as average.

    Made by `FeatureSpace.fit(features)` or `load`. By the rules of scikit-learn's estimators too, in a Pipeline say:
    `FeatureSpace(n_components=20).fit(features)` fits that object, with `get_params`, `clone`, `set_output` and
    `get_feature_names_out`. What is fitted is read-only; NumPy arrays, moved to a tensor's device on first use there.

    Args:
        n_components, weights, names: as for `fit`.

    Attributes:
        columns: the feature in each input column (for k leads, k times the same names).
        weights: (F,) column weights. explained_variance: (n_components,) variance along each component.
        sigma: the median distance between two training rows, a width for `physio_similarity(kernel="rbf")`.
        n_components: width of the result.
    """

    columns: tuple[str, ...]  # and what follows: in _fitted, by Estimator.__getattr__
    log: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    explained_variance: npt.NDArray[np.float32]
    sigma: float
    n_components: int

    def __init__(
        self,
        n_components: int = 50,
        weights: str | npt.ArrayLike = "default",
        *,
        names: Sequence[str] | None = None,
    ):
        self.n_components, self._weights, self._names = n_components, weights, names
        self._fitted: dict[str, Any] = {}

    def _set(self, columns: Sequence[str], **fitted: npt.ArrayLike) -> FeatureSpace:
        """Takes over what was fitted: the names of the columns, and an array for each of _FIELDS."""
        arrays = {name: np.array(fitted[name]) for name in _FIELDS}
        for value in arrays.values():
            value.setflags(write=False)
        self._fitted = {**arrays, "sigma": float(arrays["sigma"]), "columns": tuple(columns)}
        self._tensors: dict[Any, tuple[Any, ...]] = {}
        if "torch" in sys.modules:  # ready before a trace begins: one made by Dynamo's export would be fake
            self._on(sys.modules["torch"].device("cpu"))
        return self

    def __repr__(self) -> str:
        if not self._fitted:
            changed = {k: v for k, v in self.get_params().items() if v is not type(self)().get_params()[k]}
            return f"FeatureSpace({', '.join(f'{k}={v!r}' for k, v in changed.items())})"
        return f"FeatureSpace({len(self.columns)} columns, n_components={self.matrix.shape[1]})"

    def __getstate__(self) -> dict[str, Any]:
        return {k: {} if k == "_tensors" else v for k, v in self.__dict__.items()}

    @fit_of_class
    def fit(
        cls,
        features: Values | Table,
        n_components: int = 50,
        weights: str | npt.ArrayLike = "default",
        *,
        names: Sequence[str] | None = None,
    ) -> FeatureSpace:
        """Fits the space on a training set.

        Args:
            features: (B, F) or (..., F), of `physio_features`: F = k * 159 for k concatenated leads, k * 59 for the
                columns from "rr_mean" on alone (`FEATURE_NAMES[100:]`). NaN, infinite, masked and beyond float32 =
                missing. The columns of a DataFrame are matched by name, in whatever order they are.
            n_components: width of the result. Where the data has fewer dimensions, the last components are 0.
            weights: "default" (single beats 0.2, SD and IQR 0.5, % of beats without P 3, others 1), "released" (all 1),
                or (F,) numbers.
            names: the features in the columns where they are others than these, members of FEATURE_NAMES.

        Raises:
            ValueError: another number of columns, no rows, unknown names, weights that do not fit.
        """
        return cls(n_components, weights, names=names)._fit(features)

    def _fit(self, features: Any) -> FeatureSpace:
        n_components, weights, names = (
            check_int(self.n_components, "n_components", 1, 1_000_000),
            self._weights,
            self._names,
        )
        check_dense(features)
        self._fitted, self._names_in = {}, names_of(features)
        xp, x = arrays_of(in_order(features, names), "features")
        columns = self._check(x, names)
        w = column_weights(weights, columns)
        x = xp.to_numpy(xp.contiguous(x, "float64" if xp.dtype(x) == "float64" else "float32"))
        x = x.reshape(-1, len(columns))
        if not len(x):
            raise ValueError("features has no rows; it must have at least one")
        log = np.isin(columns, LOG_NAMES)
        mean, scale = moments(x, log)

        def weighted(rows: np.ndarray) -> np.ndarray:
            return np.nan_to_num(np.clip((rows - mean) * scale, -CLIP, CLIP)) * w

        total, square = 0.0, 0.0
        for rows in pieces(x, log):
            z = weighted(rows)
            total, square = total + z.sum(axis=0), square + z.T @ z
        center = total / len(x)
        variance, axes = np.linalg.eigh(square / len(x) - np.outer(center, center))
        variance, axes = variance[::-1], axes[:, ::-1]  # largest first
        keep = min(n_components, int((variance > 1e-10 * max(variance[0], 1e-300)).sum()))
        axes = axes[:, :keep] * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(columns))])[:keep]
        matrix, explained = np.zeros((len(columns), n_components)), np.zeros(n_components)
        matrix[:, :keep], explained[:keep] = axes, variance[:keep]
        some = x[np.linspace(0, len(x) - 1, min(len(x), ROWS)).astype(int)]
        seen = (np.abs(some) <= LARGEST).any(axis=1)
        rows = weighted(next(pieces(some[seen], log), np.zeros((0, len(columns))))) @ matrix
        return self._set(
            columns,
            log=log,
            mean=mean.astype(np.float32),
            scale=scale.astype(np.float32),
            matrix=(w[:, None] * matrix).astype(np.float32),
            offset=(-center @ matrix).astype(np.float32),
            explained_variance=explained.astype(np.float32),
            weights=w.astype(np.float32),
            sigma=np.float32(median_distance(rows)),
        )

    @staticmethod
    def _check(x: Any, names: Sequence[str] | None) -> tuple[str, ...]:
        if x.ndim < 1:
            raise ValueError(f"features has shape {tuple(x.shape)}; it must be (..., columns)")
        check_dtype(x, "features", FLOATS)
        return column_names(x.shape[-1], names)

    @overload
    def transform(self, features: ArrayT) -> ArrayT: ...
    @overload
    def transform(self, features: Table) -> NumPyArray: ...
    def transform(self, features: Any) -> Any:
        """(..., F) features to (..., n_components) float32, never NaN; the same array library and device as `features`.

        Computed in float64 from float32 features, whatever torch's autocast and matmul precision are: NumPy and torch
        agree to the last digits. Numbers beyond float32 are missing. A DataFrame's columns are matched by name.
        What `set_output` asks for is given for arrays of the host and tables, not for tensors.

        Raises:
            ValueError: another number of columns than the space was fitted on, or other names.
        """
        columns = self.columns
        if is_torch(features):
            return self._transform_torch(features)
        check_dense(features)
        xp, x = arrays_of(in_order(features, columns), "features")
        self._check_width(x)
        x = xp.to_numpy(xp.contiguous(x, "float32"))
        rows = x.reshape(-1, len(columns))
        out = np.empty((len(rows), self.matrix.shape[1]), np.float32)
        for start in range(0, len(rows), ROWS):
            out[start : start + ROWS] = self._transform_numpy(rows[start : start + ROWS])
        out = xp.from_numpy(out.reshape(*x.shape[:-1], out.shape[1]))
        return to_jax(out) if is_jax(features) else self._as_asked_for(features, out)

    @overload
    def fit_transform(self, features: ArrayT, y: object = None) -> ArrayT: ...
    @overload
    def fit_transform(self, features: Table, y: object = None) -> NumPyArray: ...
    def fit_transform(self, features: Any, y: object = None) -> Any:
        """`fit(features)` of this object and `transform(features)`; y: for scikit-learn, not looked at."""
        return self._fit(features).transform(features)

    def _fields(self) -> tuple[np.ndarray, ...]:
        """What `transform` reads, in float64: there torch's autocast and matmul precision change nothing."""
        numbers = (self.mean, self.scale, self.matrix, self.offset)
        return self.log.copy(), *(x.astype(np.float64) for x in numbers)

    def _transform_numpy(self, x: np.ndarray) -> np.ndarray:
        log, mean, scale, matrix, offset = self._fields()
        seen = np.isfinite(x)
        x = np.where(seen, x, mean)  # the mean becomes 0
        x[:, log] = np.where(seen[:, log], np.log1p(np.maximum(x[:, log], 0.0)), mean[log])
        z = np.clip((x - mean) * scale, -CLIP, CLIP)
        return (z @ matrix + offset) * seen.any(axis=-1, keepdims=True)

    def _check_width(self, x: Any) -> None:
        if x.ndim < 1 or x.shape[-1] != len(self.columns):
            raise ValueError(
                f"features has shape {tuple(x.shape)}; it must have the {len(self.columns)} columns of the training set"
            )
        check_dtype(x, "features", FLOATS)

    def _transform_torch(self, x: Any) -> Any:
        import torch

        self._check_width(x)
        fields = self._tensors.get(x.device) if type(x) in (torch.Tensor, torch.nn.Parameter) else None
        log, mean, scale, matrix, offset = fields or self._on(x.device)
        x = x.detach().float()  # what is beyond float32 becomes infinite: missing
        seen, x = torch.isfinite(x), x.double()
        x = torch.where(log, torch.log1p(x.clamp(min=0.0)), x)
        z = ((torch.where(seen, x, mean) - mean) * scale).clamp(-CLIP, CLIP)
        return ((z @ matrix + offset) * seen.any(dim=-1, keepdim=True)).float()

    def _on(self, device: Any) -> tuple[Any, ...]:
        """`_fields` as tensors, kept unless they are fake, of a trace, and die with it."""
        import torch

        # The device is named: `with torch.device(...)` would move them otherwise.
        fields = tuple(torch.as_tensor(field, device=device) for field in self._fields())
        if all(type(field) is torch.Tensor for field in fields) and not torch.compiler.is_compiling():
            self._tensors[device] = fields
        return fields

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the fitted parameters to `path` as an .npz archive of plain arrays (no pickle)."""
        with open(path, "wb") as f:  # a file object: np.savez would append .npz to another name
            np.savez(
                f, format=np.array(FORMAT), columns=np.array(self.columns), **{k: getattr(self, k) for k in _FIELDS}
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FeatureSpace:
        """Reads what `save` wrote. Runs no code from the file.

        Raises:
            FileNotFoundError: there is no such file. ValueError: it is not a FeatureSpace.
        """
        try:
            with open(path, "rb") as f, np.load(f, allow_pickle=False) as archive:
                if str(archive["format"]) != FORMAT:
                    raise ValueError(f"its format is {str(archive['format'])!r}")
                columns = tuple(str(name) for name in archive["columns"])
                fitted = {name: archive[name] for name in _FIELDS}
                size = {"F": len(columns), "C": fitted["matrix"].shape[-1]}
                for name, shape in _FIELDS.items():
                    if fitted[name].shape != tuple(size[s] for s in shape) or not np.isfinite(fitted[name]).all():
                        raise ValueError(f"its {name} is damaged")
        except FileNotFoundError:
            raise
        except Exception as e:  # zipfile, zlib and NumPy each have their own errors for a damaged file
            raise ValueError(
                f"path is {os.fspath(path)!r}; it must be a file that FeatureSpace.save wrote ({e})"
            ) from e
        return cls(fitted["matrix"].shape[1], fitted["weights"], names=columns)._set(columns, **fitted)
