"""Add the initializer and the learning rate as hyperparameters to any model, without changing it."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner

from keras_initx import InitxError

from .._variables import inner_optimizer, optimizers_of
from ..data import first_inputs
from .dependence import Dependence, Parts, random_state
from .description import SETTINGS
from .fatal import WrongInEveryTrial
from .initializers import (
    DEFAULT_INITIALIZERS,
    DISTRIBUTION,
    GAIN,
    INITIALIZER,
    OWN,
    KernelSpace,
    checked_names,
)
from .loaded import warn_of_loaded_kernels
from .optimizers import check_optimizers, set_optimizer
from .ranges import SCHEDULES, check_counts, check_numbers, choose_number
from .search_space import SearchSpace
from .user_model import Build, build_on, maker

LEARNING_RATE, WEIGHT_DECAY, SCHEDULE, BATCH_SIZE = "learning_rate", "weight_decay", "schedule", "batch_size"
OPTIMIZER = "optimizer"

# The field of a `SearchSpace` that adds a hyperparameter.
_ARGUMENTS = {
    INITIALIZER: "initializers",
    GAIN: "gains",
    DISTRIBUTION: "distributions",
    LEARNING_RATE: "learning_rates",
    WEIGHT_DECAY: "weight_decays",
    SCHEDULE: "schedules",
    BATCH_SIZE: "batch_sizes",
    OPTIMIZER: "optimizers",
}


class InitializerHyperModel(keras_tuner.HyperModel):
    """A user's model with the hyperparameters of a `SearchSpace` added to it.

    Args:
        model: A compiled Keras model; a function that returns one, with no argument or with
            `hp`; or a `keras_tuner.HyperModel`, whose `fit` and `declare_hyperparameters` are called too. It
            is never changed: each trial clones a model.
        space: What to add. Kernels are redrawn from the chosen initializer (`keras_initx.reinitialize`).
            "own" redraws every weight from the model's own initializers, or keeps all of them where a
            function has loaded some; "initialize:auto", for example, calls
            `keras_initx.initialize(model, "auto")`.

    Attributes:
        inputs: A batch of inputs, on which a model is built that its function leaves unbuilt; None until
            the data are known.
        lenient: Whether what is not a model is returned as it is, and a model need not be compiled, for a
            tuner whose `run_trial` may build and train anything.
        given: The hyperparameters that the user passed to the tuner. They override those of the space, and
            the build function may read them without declaring them.
        explored: The whole space, if a build has shown all of it; None if that is not known.
        override: Called with each new model before anything is added to it; None changes nothing.

    Raises:
        InitxError: The model is not compiled, an initializer is unknown, or a rate is not
            positive.
    """

    def __init__(
        self, model: keras.Model | Build | keras_tuner.HyperModel, space: SearchSpace | None = None
    ) -> None:
        super().__init__()
        if space is not None and not isinstance(space, SearchSpace):
            raise InitxError("space", space, "a SearchSpace", f"Pass SearchSpace(initializers={space!r}).")
        self.space = space = space or SearchSpace()
        names = (*DEFAULT_INITIALIZERS, OWN) if space.initializers is None else space.initializers
        is_default = space.initializers is None
        self.kernels = KernelSpace(names, space.gains, space.distributions, is_default)
        self.learning_rates = check_numbers(space.learning_rates)
        self.weight_decays = check_numbers(space.weight_decays, "weight_decays", allow_zero=True)
        self.schedules = checked_names("schedules", space.schedules, SCHEDULES) if space.schedules else None
        self.batch_sizes = check_counts("batch_sizes", space.batch_sizes)
        self.optimizers = check_optimizers(space.optimizers)
        self._model = model
        self._make = maker(model)
        replaced = [name for name in SETTINGS if getattr(self, _ARGUMENTS[name]) is not None]
        self._dependence = Dependence(self._rebuilt, replaced, self.has_own_fit)
        # A clone has the weights of its original; a function draws new ones in each call.
        self._clones = isinstance(model, keras.Model)
        self._keeps_own: bool | None = None
        # The random state before the model was made.
        self._state: Any = None
        self.inputs: Any = None
        self.lenient = False
        self.given: tuple[Any, ...] = ()
        self.explored: keras_tuner.HyperParameters | None = None
        self.override: Callable[[keras.Model], None] | None = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the user's HyperModel."""
        user = self.__dict__.get("_model")
        if hasattr(type(self), name) or not isinstance(user, keras_tuner.HyperModel):
            return object.__getattribute__(self, name)  # For a property, its own error once more.
        return getattr(user, name)

    @property
    def has_own_fit(self) -> bool:
        """Whether the user's HyperModel overrides `fit`."""
        user = self._model
        return isinstance(user, keras_tuner.HyperModel) and (
            type(user).fit is not keras_tuner.HyperModel.fit or "fit" in vars(user)
        )

    def fit_takes(self, name: str) -> bool:
        """Whether the `fit` of the user's HyperModel takes an argument with that name."""
        parameters = inspect.signature(self._model.fit).parameters  # type: ignore[union-attr]
        return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def fit_takes_positional(self, count: int) -> bool:
        """Whether that `fit` accepts `count` positional arguments after `hp` and the model."""
        kinds = [p.kind for p in inspect.signature(self._model.fit).parameters.values()]  # type: ignore[union-attr]
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            return True
        return sum(kind < inspect.Parameter.VAR_POSITIONAL for kind in kinds) >= count + 2

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declare the hyperparameters that the user's HyperModel declares."""
        if isinstance(self._model, keras_tuner.HyperModel):
            self._model.declare_hyperparameters(hp)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train a model as the user's HyperModel does, or with `model.fit`, and return the result."""
        if hp.values.get(BATCH_SIZE) is not None and self.batch_sizes is not None:
            kwargs["batch_size"] = hp.values[BATCH_SIZE]
        if self.has_own_fit:
            return self._model.fit(hp, model, *args, **kwargs)  # type: ignore[union-attr]
        if not self._is_ready(model):
            # A tuner that does not set `inputs`, such as one of KerasTuner.
            self.inputs, args, kwargs = first_inputs(args, kwargs)
            try:
                build_on(model, self.inputs)
                self._draw(model, hp, is_as_built=False)
            finally:
                self.inputs = None
        return model.fit(*args, **kwargs)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the user's model with the kernels and the training options that `hp` chooses."""
        is_first = not self.given and not self._added.keys() & {declared.name for declared in hp.space}
        self._state = random_state()
        model = self._make(hp)
        if is_first:
            # One build less: this one has also shown what the user's model declares.
            self.__dict__.setdefault("_declared", frozenset(declared.name for declared in hp.space))
        if not isinstance(model, keras.Model):
            if self.lenient:
                return model
            problem = f"`model` must be a function that returns a Keras model, but it returned {model!r}"
            raise WrongInEveryTrial("model", model, "a function that returns a Keras model", problem=problem)
        if self.override is not None:
            self.override(model)
        if not (model.compiled or self.has_own_fit or self.lenient):
            problem = f"`model` {model.name!r} is not compiled"
            remedy = "Call model.compile(...) in the function that builds it."
            raise InitxError("model", model.name, "a compiled model", remedy, problem)
        self._check_not_declared(hp)
        if self.inputs is not None:
            build_on(model, self.inputs)
        self._draw(model, hp)
        if self.optimizers is not None:
            self._optimizer(model, "optimizers")
            set_optimizer(model, hp.Choice(OPTIMIZER, list(self.optimizers)))
        if self.learning_rates is not None:
            try:
                optimizer = self._optimizer(model, "learning_rates")
                optimizer.learning_rate = choose_number(hp, LEARNING_RATE, self.learning_rates)
            except TypeError as error:
                allowed = "None for an optimizer with a schedule"
                remedy = "Pass learning_rates=None, or compile with a plain learning rate."
                raise InitxError("learning_rates", self.learning_rates, allowed, remedy) from error
        if self.weight_decays is not None:
            optimizer = inner_optimizer(self._optimizer(model, "weight_decays"))
            optimizer.weight_decay = choose_number(hp, WEIGHT_DECAY, self.weight_decays)
        if self.schedules is not None:
            optimizer = inner_optimizer(self._optimizer(model, "schedules"))
            if not isinstance(optimizer.get_config()["learning_rate"], float):
                allowed = "None for an optimizer with a schedule of its own"
                remedy = "Pass schedules=None, or compile with a plain learning rate."
                raise InitxError("schedules", self.schedules, allowed, remedy)
            hp.Choice(SCHEDULE, list(self.schedules))
        if self.batch_sizes is not None:
            hp.Choice(BATCH_SIZE, list(self.batch_sizes))
        return model

    def _is_ready(self, model: keras.Model) -> bool:
        """Return whether kernels can be drawn; a model that its first batch builds is ready after that.

        Its parts may have kernels before, but not every method can draw them.
        """
        waits = self.inputs is None and not (self.has_own_fit or self.lenient)
        return model.built or (bool(model.variables) and not waits)

    def _draw(self, model: keras.Model, hp: keras_tuner.HyperParameters, is_as_built: bool = True) -> None:
        """Draw the kernels that `hp` chooses, or only declare the choices while the model is not ready."""
        is_ready = self._is_ready(model)
        if is_ready and self._keeps_own is None:
            self._keeps_own = not self._clones and warn_of_loaded_kernels(model)
        own = [p.name for p in hp.space if p.name in self._declared or p.name not in self._added]
        parts = Parts()
        if self._may_overrule and own:
            parts = self._dependence.parts(model, hp, own, self._state, is_as_built)
        self._check_training(parts.training)
        self.kernels.draw(model if is_ready else None, hp, self._declared, not self._keeps_own, parts)

    @property
    def _may_overrule(self) -> bool:
        """Whether the space replaces anything that a hyperparameter of the user's may set."""
        names = {name for names in self.kernels.groups.values() for name in names}
        fields = (self.learning_rates, self.weight_decays, self.optimizers)
        return names != {OWN} or any(field is not None for field in fields)

    def _rebuilt(self, hp: keras_tuner.HyperParameters) -> Any:
        """Return the user's model alone."""
        model = self._make(hp)
        if isinstance(model, keras.Model):
            if self.override is not None:
                self.override(model)
            if self.inputs is not None:
                build_on(model, self.inputs)
        return model

    def _check_training(self, owners: Mapping[str, str]) -> None:
        """Raise an `InitxError` for a field that replaces a setting of the user's own hyperparameter."""
        for setting, owner in owners.items():
            argument = _ARGUMENTS[setting]
            if (value := getattr(self, argument)) is None:
                continue
            problem = f"`{argument}` would overrule the model's hyperparameter {owner!r}"
            remedy = f"Leave out `{argument}`, or the hyperparameter in the model."
            raise InitxError(argument, value, "None for this model", remedy, problem)

    def _optimizer(self, model: keras.Model, argument: str) -> keras.optimizers.Optimizer:
        """Return the model's only optimizer.

        Raises:
            InitxError: It has none or several, so that the argument has no clear meaning.
        """
        optimizers = optimizers_of(model)
        if len(optimizers) != 1:
            count = "no optimizer" if not optimizers else f"{len(optimizers)} optimizers"
            problem = f"`{argument}` cannot be applied to `model` {model.name!r}, which has {count}"
            remedy = "Declare the hyperparameters in the function that builds the model."
            raise InitxError(argument, getattr(self, argument), "None for this model", remedy, problem)
        return optimizers[0]

    def _check_not_declared(self, hp: keras_tuner.HyperParameters) -> None:
        """Raise an `InitxError` for a part of the space that the user's model declares itself.

        Args:
            hp: The hyperparameters after the user's model was built: what it declares only in some builds is
                among them, with values other than ours.
        """
        for declared in hp.space:
            ours = self._added.get(declared.name)
            if (
                ours is None
                or declared.name in {hp.name for hp in self.given}
                or (declared.name not in self._declared and _is_same(declared, ours))
            ):
                continue
            argument = _ARGUMENTS[declared.name.partition(":")[0]]
            if argument == "initializers" and self.space.initializers is None:
                continue
            problem = (
                f"`{argument}` has no effect: the model declares the hyperparameter {declared.name!r} itself"
            )
            remedy = f"Leave out `{argument}`, or the declaration in the model."
            value = getattr(self.space, argument)
            raise InitxError(argument, value, "None for this model", remedy, problem)

    def with_space(self, given: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
        """Return a user's hyperparameters together with those that the space adds.

        The user chose both. KerasTuner may be told to refuse hyperparameters that only a build declares, or
        to leave them at their defaults.
        """
        both = given.copy()
        both.merge([p for p in self._added.values() if p.name not in self._declared], overwrite=False)
        return both

    @functools.cached_property
    def _added(self) -> dict[str, Any]:
        """The hyperparameters that the space adds, by name."""
        hp = keras_tuner.HyperParameters()
        self.kernels.draw(None, hp, frozenset())
        for name, numbers in ((LEARNING_RATE, self.learning_rates), (WEIGHT_DECAY, self.weight_decays)):
            if numbers is not None:
                choose_number(hp, name, numbers)
        listed = {SCHEDULE: self.schedules, BATCH_SIZE: self.batch_sizes, OPTIMIZER: self.optimizers}
        for name, values in listed.items():
            if values is not None:
                hp.Choice(name, list(values))
        return {declared.name: declared for declared in hp.space}

    @functools.cached_property
    def _declared(self) -> frozenset[str]:
        """The hyperparameters that the user's model declares itself."""
        hp = keras_tuner.HyperParameters()
        self.declare_hyperparameters(hp)
        given: set[str] = set()
        try:
            self._make(hp)
        except KeyError:
            # The build function may read hyperparameters that the user passed to the tuner.
            if not self.given:
                raise
            hp.merge(self.given)
            given = {p.name for p in self.given}
            self._make(hp)
        return frozenset(p.name for p in hp.space if p.name not in given)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two hyperparameters have the same values, under whatever conditions."""
    configs = [{**hp.get_config(), "conditions": None} for hp in (one, other)]
    return type(one) is type(other) and configs[0] == configs[1]
