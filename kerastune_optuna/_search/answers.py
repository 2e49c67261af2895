"""What functions of the trial ask for, and were told: equal answers stand for equal results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial

from kerastune_optuna._exceptions import ArgumentError
from kerastune_optuna._search import space
from kerastune_optuna._search.mismatch import ask

Answers: TypeAlias = tuple[tuple[str, float], ...]  # values as Optuna's databases hold them
Questions: TypeAlias = dict[Answers, tuple[str, BaseDistribution]]  # what is next after answers


class StandIn(space.Walker):
    """Stand for a trial before a function that is known by what it asks for, and nothing else.

    Args:
        choose: Takes the name and the distribution of a parameter, and returns the trial's value.
    """

    @property
    def number(self) -> int:
        """Nothing that the data may depend on.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(
            "A function of the data read trial.number. Trials that ask for the same values share "
            "the data, so that it cannot depend on their numbers. Ask for a parameter instead."
        )

    def set_user_attr(self, key: str, value: Any) -> None:
        """Write nothing into the trial.

        Raises:
            ArgumentError: Always.
        """
        raise ArgumentError(
            f"A function of the data set the user attribute {key!r} of its trial. It is not called "
            "for trials that ask for the same values as an earlier one. Set it in build_model."
        )


class Interview:
    """Let functions ask a trial, and hold its answers.

    Args:
        trial: The trial.
        questions: Gets what is asked for next after each answer.
    """

    def __init__(self, trial: BaseTrial, questions: Questions) -> None:
        self.answers: Answers = ()
        self._trial, self._questions = trial, questions
        self._ranges: dict[str, BaseDistribution] = {}

    def ask_again(self) -> Answers:
        """Ask what is known to be asked for, and return the answers."""
        while (question := self._questions.get(self.answers)) is not None:
            self.ask(*question)
        return self.answers

    def stand_in(self) -> StandIn:
        """Return what one of the functions gets in place of the trial."""
        return StandIn(self.ask)

    def ask(self, name: str, distribution: BaseDistribution) -> Any:
        """Return the trial's value of a parameter, and note question and answer."""
        known = self._ranges.setdefault(name, distribution)
        if known != distribution:
            raise ArgumentError(
                f"Two functions of the data ask for {name!r}, one as {space.described(known)} and "
                f"one as {space.described(distribution)}. Give both the same range, or the second "
                "parameter another name."
            )
        value = ask(self._trial, name, distribution)
        self._questions[self.answers] = name, distribution
        self.answers = (*self.answers, (name, distribution.to_internal_repr(value)))
        return value


class Together:
    """Stand for a builder, and call the functions of the data before it.

    Args:
        build_model: The builder.
        functions: The functions that search() is to get as data.

    Raises:
        ArgumentError: One is no function.
    """

    def __init__(self, build_model: space.Builder, functions: Sequence[Any]) -> None:
        for one in functions:
            if not callable(one):
                raise ArgumentError(
                    f"{type(one).__name__} is no function. Besides the parameters, pass the "
                    "functions of the trial that search() is to get as data, if there are any."
                )
        self._build_model, self._functions = build_model, functions

    def __call__(self, trial: BaseTrial) -> Any:
        """Call the functions, then the builder."""
        for function in self._functions:
            function(trial)
        return self._build_model(trial)

    def __getattr__(self, name: str) -> Any:
        """Return what the builder has besides, like its defaults."""
        return getattr(self._build_model, name)
