"""What the estimators of this package have in common."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from pyspark.ml.param import Param
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import DataFrame

import fdl
from fdl_spark.arguments import check_features, check_function, check_params
from fdl_spark.compute.program import shape_of, takes_key
from fdl_spark.data.encoder import Encoder
from fdl_spark.errors import ArgumentError, DataError
from fdl_spark.history.history import History
from fdl_spark.ml.inputs import Inputs, batch_types, extents
from fdl_spark.ml.params import InputParams, TrainingParams, converter, hyperparameters, takes
from fdl_spark.ml.persistence import FEATURES, Contents, DataReader, DataWriter, as_json, read_features, whole
from fdl_spark.spark.classic import package_of
from fdl_spark.spark.failures import calling
from fdl_spark.training.train import train

#: Arguments of `train` that have a Param, or that the estimator makes itself.
OWN = (
    "loss", "params", "data", "optimizer", "batch_size", "epochs", "seed", "shards", "partitions", "columns",
    "features", "validation", "metrics", "checkpoint", "weights", "state",
)  # fmt: skip


class Fitting(TrainingParams, InputParams, MLReadable, MLWritable):
    """An estimator that calls `fdl_spark.train`.

    Attributes:
      functions: apply, init and loss by name, None for those that are not given.
      features: encodes columns; None encodes none.
      options: further arguments of `fdl_spark.train`.
      own: the defaults of the functions' own hyperparameters, which are Params too.
    """

    functions: dict[str, Any]
    features: Encoder | None
    options: dict[str, Any]
    own: dict[str, Any]

    def _begin(
        self,
        functions: Mapping[str, Any],
        features: Encoder | None,
        options: Mapping[str, Any] | None,
        values: Mapping[str, Any],
    ) -> None:
        """Take the arguments of a constructor."""
        check_features(features)
        self.features, self.options = features, dict(options or {})
        for name in self.options:
            if name in OWN:
                raise ArgumentError(f"options: {name!r} is an argument or a Param of {type(self).__name__} itself")
        self._bind(functions)
        self.setParams(**values)

    def _bind(self, functions: Mapping[str, Any]) -> None:
        for name in ("apply", "loss"):
            if functions.get(name) is not None:
                check_function(name, functions[name], "(params, x)" if name == "apply" else "(output, labels)")
        self.functions = dict(functions)
        called = {name: function for name, function in functions.items() if is_function(function)}
        if "apply" in called and takes_key(called["apply"]):
            key = list(signature(called["apply"]).parameters.values())[2]
            if key.default is Parameter.empty:
                raise ArgumentError(f"apply has no {key.name} for predictions; give this argument the default None")
        self._own(hyperparameters(**called))

    def _own(self, defaults: Mapping[str, Any]) -> None:
        """Make Params of the functions' own hyperparameters."""
        before = getattr(self, "own", {})
        self.own = dict(defaults)
        taken = {*dir(self), *self.functions} - before.keys()
        for name, default in self.own.items():
            if name in taken:
                raise ArgumentError(
                    f"keyword {name!r} of a function is a name of {type(self).__name__} itself; rename it"
                )
            setattr(self, name, Param(self, name, "a hyperparameter of the functions themselves.", converter(default)))
            self._params = None
            if default is not Parameter.empty:
                self._setDefault(**{name: default})

    def setParams(self, **values: Any) -> Any:
        """Set Params by name.

        Raises:
          ArgumentError: there is no such Param.
        """
        for name in values:
            if not self.hasParam(name):
                known = ", ".join(param.name for param in self.params)
                raise ArgumentError(f"{type(self).__name__} has no Param {name!r}; it has {known}")
        return self._set(**values)

    def bound(self, **functions: Any) -> Any:
        """A copy with its functions, for an estimator that was loaded: files hold none.

        Args:
          functions: apply, init, loss.

        Raises:
          ArgumentError: there is no such function.
        """
        for name in functions:
            if name not in self.functions:
                raise ArgumentError(f"{type(self).__name__} has the functions {', '.join(self.functions)}, no {name!r}")
        that = self.copy()
        values, own = dict(that._paramMap), that.own
        that._bind({**self.functions, **functions})
        that.own = {**own, **that.own}
        that._paramMap = values
        return that

    def fitMultiple(self, dataset: DataFrame, paramMaps: Sequence[Any]) -> Iterator[Any]:
        """As every estimator's; refuses `checkpoint`, a folder of which is one run's only.

        Raises:
          ArgumentError: `checkpoint` is set.
        """
        if self.setting(self.checkpoint):
            raise ArgumentError("checkpoint is a folder of one run; clear it for several fits, as of a CrossValidator")
        return super().fitMultiple(dataset, paramMaps)

    def write(self) -> MLWriter:
        """What saves the Params and encoders; functions are Python, and are not saved."""
        return DataWriter(self)

    @classmethod
    def read(cls) -> DataReader:
        """What loads the Params and encoders; `bound` gives the estimator its functions."""
        return DataReader(cls)

    def contents(self) -> Contents:
        """The files of its folder."""
        options = json.loads(as_json(self.options, "options="))
        names = {name: _name_of(function) for name, function in self.functions.items()}
        own = {name: None if default is Parameter.empty else default for name, default in self.own.items()}
        files = {}
        if self.features is not None:
            files[FEATURES] = as_json(self.features.to_json(), "features")
        return whole(self, files, functions=names, hyperparameters=own, options=options)

    @classmethod
    def from_contents(cls, values: Mapping[str, Any], contents: Mapping[str, bytes], path: str) -> Any:
        """The estimator that the files are of, without functions."""
        instance = cls(None, None, features=read_features(contents), options=values["options"])  # type: ignore[call-arg]
        own = values["hyperparameters"].items()
        instance._own({name: Parameter.empty if default is None else default for name, default in own})
        return instance

    def hyperparameters(self) -> dict[str, Any]:
        """The values of the functions' own hyperparameters.

        Raises:
          ArgumentError: one has no value.
        """
        for name in self.own:
            if not self.isDefined(name):
                raise ArgumentError(f"{name} has no default and no value; pass {name}= to {type(self).__name__}")
        return {name: self.getOrDefault(name) for name in self.own}

    def function(self, name: str) -> Callable[..., Any]:
        """A function with its hyperparameters.

        Raises:
          ArgumentError: it is not there, as the estimator was loaded.
        """
        found = self.functions[name]
        if found is None:
            raise ArgumentError(
                f"this {type(self).__name__} has no function {name!r}: files hold none; give it, as in "
                f"estimator.bound({name}={name}, ...)"
            )
        own = takes(found, self.hyperparameters())
        return partial(found, **own) if own else found

    def inputs(self, single: str | None) -> Inputs:
        """What the model reads: inputCols and encoded columns, else a single column."""
        columns = tuple(self.setting(self.inputCols) or ())
        if columns or self.features is not None:
            return Inputs(columns, features=self.features)
        if single is None:
            raise ArgumentError("name the columns that the model reads: inputCols=[...], or features=")
        return Inputs((single,), single=True)

    def first_params(self, types: Any, *more: Any) -> Any:
        """The parameters before training."""
        params = self.functions["init"]
        if params is None or is_function(params):
            init = self.function("init")
            with calling("init"):
                params = init(fdl.random.key(self.getSeed()), extents(types), *more)
        check_params(params)
        return params

    def output_types(self, apply: Callable[..., Any], params: Any, types: Any) -> Any:
        """The type of a row of the function's output.

        Raises:
          DataError: it does not give a row for each row.
        """
        rows = self.getPredictionBatchSize()
        found = shape_of("apply", apply, params, batch_types(types, rows))
        if (getattr(found, "shape", None) or ())[:1] != (rows,):
            raise DataError(f"apply must give one row of output per row of the batch; for {rows} rows it gives {found}")
        return fdl.ShapeDtypeStruct(found.shape[1:], found.dtype)

    def trained(
        self, loss: Any, params: Any, frame: DataFrame, inputs: Inputs, others: Sequence[str], metrics: Any = None
    ) -> tuple[Any, History]:
        """Train on the rows of a frame that the validation indicator does not hold out.

        Args:
          loss: (params, batch) -> mean loss.
          params: the parameters before training.
          frame: what `with_columns` gave.
          inputs: what the model reads.
          others: which other columns the loss reads.
          metrics: taken on the validation, if there is one.

        Returns:
          The parameters, the best ones if options say what is best; and the record of the training.
        """
        indicator, validation = self.setting(self.validationIndicatorCol), None
        if indicator is not None:
            column = import_module(f"{package_of(frame)}.functions").col(_quoted(indicator))
            frame, validation = frame.where(~column), frame.where(column)
        classes = self.hasParam("labelCol") and "class_weights" in self.options
        label = {"label": self.getOrDefault("labelCol")} if classes else {}
        run = train(
            loss,
            params,
            frame,
            optimizer=self.chosen_optimizer(),
            batch_size=self.getBatchSize(),
            epochs=self.getEpochs(),
            seed=self.getSeed(),
            shards=self.setting(self.shards),
            partitions=self.setting(self.partitions),
            columns=[*inputs.columns, *others],
            features=inputs.features,
            validation=validation,
            metrics=metrics if validation is not None else None,
            checkpoint=self.setting(self.checkpoint),
            weights=self.setting(self.weightCol),
            **(label | self.options),
        )
        return (run.params if run.best is None else run.best.params), run.history

    def weighs(self) -> bool:
        """Whether `train` weighs the losses of rows."""
        return self.setting(self.weightCol) is not None or self.options.get("class_weights") is not None


def is_function(value: Any) -> bool:
    """Whether a value is a function and no pytree of parameters, which may be callable too."""
    return callable(value) and fdl.tree.all_leaves([value])


def _name_of(function: Any) -> str | None:
    """What a reader of the file may want to know of a function."""
    if not is_function(function):
        return None
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"
