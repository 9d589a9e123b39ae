"""What scikit-learn asks of a transformer, without importing it: `FeatureSpace` in pipelines, searches and clones."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sklearn.utils import Tags


class fit_of_class(classmethod):  # type: ignore[type-arg]
    """A class method `fit(X, parameters...)`; of an instance scikit-learn's `fit(X, y=None)`, which fits that."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(None, owner) if instance is None else types.MethodType(_fit, instance)


def _fit(self: Any, features: Any, y: Any = None) -> Any:
    """Fits this object with its own parameters; `y` is not looked at. As `FeatureSpace.fit`, but returns self."""
    return self._fit(features)


def optional(package: str, what: str) -> Any:
    """The package, which `what` needs and nothing else does."""
    try:
        return importlib.import_module(package)
    except ImportError as e:
        raise ImportError(f"{what} needs {package}, which is not installed: pip install {package}") from e


def check_dense(features: Any) -> None:
    if hasattr(features, "toarray"):
        raise TypeError("features is a sparse array; it must be dense: features.toarray()")


def names_of(table: Any) -> list[str] | None:
    """The column names of a table, if it has any and all are strings."""
    columns = getattr(table, "column_names", getattr(table, "columns", None))  # of Arrow; of pandas and polars
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return list(columns)


class NotFitted(ValueError, AttributeError):
    """Asked for what `fit` finds, before it."""


class Estimator:
    """Parameters are those of `__init__`, kept as given under their names or `_name`; `_fit(X)` fits."""

    matrix: npt.NDArray[np.float32]  # its width is that of the result
    _fitted: dict[str, Any]
    _names_in: list[str] | None = None
    _output: str | None = None

    if not TYPE_CHECKING:  # a checker would take every name for one that is there

        def __getattr__(self, name):
            """What was fitted. Not yet: NotFitted, or scikit-learn's own error where that is loaded."""
            fitted = self.__dict__.get("_fitted", {})
            if name in fitted:
                return fitted[name]
            if name.startswith("_") or fitted or name not in type(self).__annotations__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            kind = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", NotFitted)
            raise kind(f"this {type(self).__name__} is not fitted yet; call fit with the features of a training set")

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The parameters, as they were given. deep: for scikit-learn; nothing lies deeper."""
        names = list(inspect.signature(type(self)).parameters)
        return {name: self.__dict__[name if name in self.__dict__ else f"_{name}"] for name in names}

    def set_params(self, **params: object) -> Self:
        """Changes parameters, for the next `fit`.

        Raises:
            ValueError: a parameter that it has not.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name!r} is no parameter of {type(self).__name__}; it must be one of {list(known)}")
            self.__dict__[name if name in self.__dict__ else f"_{name}"] = value
        return self

    @property
    def n_features_in_(self) -> int:
        """Columns of what it was fitted on."""
        if not self._fitted:
            raise AttributeError("n_features_in_: it is not fitted yet")
        return len(self._fitted["columns"])

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """Names of the columns, where it was fitted on a table that has names."""
        if not self._fitted or self._names_in is None:
            raise AttributeError("feature_names_in_: it was not fitted on a table with names")
        return np.array(self._names_in, dtype=object)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """Names of the columns of the result, "featurespace0" on. input_features: for scikit-learn, not looked at."""
        name = type(self).__name__.lower()
        return np.array([f"{name}{k}" for k in range(self.matrix.shape[1])], dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """What `transform` returns: "default" (arrays), "pandas" or "polars" (a DataFrame); None changes nothing.

        Raises:
            ValueError: another word.
        """
        if transform is not None and transform not in ("default", "pandas", "polars"):
            raise ValueError(f"transform is {transform!r}; it must be 'default', 'pandas', 'polars' or None")
        self._output = transform or self._output
        return self

    def _as_asked_for(self, given: Any, out: Any) -> Any:
        """`out` in the form that set_output, or scikit-learn's own configuration, says."""
        wanted = self._output
        if wanted is None:
            config: dict[str, Any] = getattr(sys.modules.get("sklearn"), "get_config", dict)()
            wanted = config.get("transform_output", "default")
        if wanted == "default" or not isinstance(out, np.ndarray) or out.ndim != 2:
            return out
        names = self.get_feature_names_out().tolist()
        if wanted == "polars":
            polars = optional("polars", "set_output(transform='polars')")
            return polars.DataFrame(out, schema=names, orient="row")
        pandas = optional("pandas", "set_output(transform='pandas')")
        return pandas.DataFrame(out, columns=names, index=given.index if isinstance(given, pandas.DataFrame) else None)

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self._fitted)

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),  # float32, whatever came
            input_tags=InputTags(allow_nan=True),
        )
