"""The card of a search: everything that must be the same to reproduce the result of a trial."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import optuna
from optuna.trial import FrozenTrial

from kerastune_optuna import _optuna
from kerastune_optuna._study.record import StudyRecord, TrialRecord

# Arguments that change no training, or of which a study has one value, or that measures compare.
_UNCOMPARED = {
    *("cv", "executions_per_trial", "steps_per_execution"),
    *("validation_split", "validation_batch_size"),
}
# What Model.fit takes where an argument is not passed.
_DEFAULTS = {"batch_size": 32, "initial_epoch": 0, "shuffle": True, "validation_freq": 1}
_WIDEST = 100  # characters of an argument in a warning


@dataclass(frozen=True)
class Card:
    """Say what a search was; the default says nothing, as of trials that other code ran.

    All values are as JSON has them.

    Args:
        seed: The seed of the tuner.
        sampler_seed: The seed of a sampler that was made for the search.
        n_workers: How many workers it had.
        versions: The versions of Python and of packages, by name.
        backend: The backend of Keras.
        settings: The global settings of Keras.
        platform: The operating system.
        devices: The processors that train.
        study: The study with its objective and limits, and its sampler and pruner.
        arguments: The arguments of search() besides the data.
        digests: The digests of those arguments that are only described.
        epochs_in_all: How many epochs a trial runs in all of its trainings.
        data: The descriptions of the data, by its name in search().
        measured: Measures of the training data and of the validation data.
        code: Digests of the code of the builder and of the functions of the data, by name.
    """

    # What a digest, or a part of a measure, begins with if nothing could be measured. The rest of a
    # measure belongs to one search, so that only trials of one search have the same unknown data.
    UNKNOWN: ClassVar[str] = "unknown"

    seed: int | None = None
    sampler_seed: int | None = None
    n_workers: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None
    devices: Sequence[str] = ()
    study: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    epochs_in_all: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, told: object) -> Card:
        """Return a card from what a study or a table holds, which other code may have written."""
        values = told if isinstance(told, dict) else {}
        return cls(**{one.name: values[one.name] for one in fields(cls) if one.name in values})

    @classmethod
    def all_of(cls, study: optuna.Study) -> dict[str, Card]:
        """Return the cards that a study has, by key."""
        # The study that HyperbandPruner shows to samplers has no `user_attrs`.
        attrs = _optuna.storage_of(study).get_study_user_attrs(_optuna.id_of(study))
        told = dict(attrs).items()  # other threads may write to it
        prefix = StudyRecord.CARD
        return {k.removeprefix(prefix): cls.read(one) for k, one in told if k.startswith(prefix)}

    @classmethod
    def of(cls, study: optuna.Study, trial: FrozenTrial) -> Card:
        """Return the card of a trial."""
        return cls.all_of(study).get(TrialRecord(trial).card or "", cls())

    @classmethod
    def latest(cls, study: optuna.Study) -> Card:
        """Return the card of the latest search of a study."""
        return cls.all_of(study).get(StudyRecord(study).card or "", cls())

    def write(self, study: optuna.Study) -> None:
        """Write this as the card of the latest search of a study."""
        if (name := f"{StudyRecord.CARD}{self.key}") not in study.user_attrs:
            study.set_user_attr(name, asdict(self))
        StudyRecord(study).card = self.key

    @cached_property
    def key(self) -> str:
        """The key of the card, which the trials record."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def epochs(self) -> int | None:
        """How many epochs a training runs unless it is stopped early; None if unknown."""
        last = self.arguments.get("epochs")
        return None if last is None else int(last) - int(self.arguments.get("initial_epoch", 0))

    @property
    def passed(self) -> dict[str, Any]:
        """The arguments of Model.fit that the search got, as far as the card has them."""
        left_out = {*self.digests, *_UNCOMPARED}
        told = self.arguments.items()
        return {name: self.by_class(name, value) for name, value in told if name not in left_out}

    @staticmethod
    def by_class(name: str, value: Any) -> Any:
        """Return the keys of class_weight as numbers, which they are not in JSON."""
        if name == "class_weight" and isinstance(value, Mapping):
            return {int(key): weight for key, weight in value.items()}
        return value

    def changes(self, now: Card) -> dict[str, str]:
        """Return what a later search certainly has other than this one, but for the data.

        Args:
            now: The card of that search.

        Returns:
            By the names of arguments, and of the dtype policy: what was and what is, in words.
        """
        found: dict[str, str] = {}
        if not (self.arguments and now.arguments):
            return found
        policy = "dtype_policy"
        mine, its = ({**one.arguments, policy: one.settings.get(policy)} for one in (self, now))
        for name in sorted({*mine, *its} - _UNCOMPARED):
            was, other = mine.get(name), its.get(name)
            digests = {self.digests.get(name), now.digests.get(name)}
            default = _DEFAULTS.get(name)
            is_default = (default if was is None else was) == (default if other is None else other)
            if self.UNKNOWN in digests or (name in _DEFAULTS and is_default):
                continue
            if was != other:
                both = (
                    textwrap.shorten(str(value), _WIDEST, placeholder="...")
                    for value in (was, other)
                )
                found[name] = f"{name} was {' and is '.join(both)}"
            elif len(digests) > 1:
                found[name] = f"{name} has other values"
        return found

    def told_changes(self, now: Card) -> list[str]:
        """Return, in words, what makes the values of a later search of a study hard to compare.

        Callbacks, of which only the names are known, may be loggers; the digests of other objects
        may differ between processes.
        """
        untold = {"callbacks", *self.digests, *now.digests}
        found = [text for name, text in self.changes(now).items() if name not in untold]
        if not self.has_like(now, "training"):
            found.append("the training data has changed")
        return found

    def changes_for_a_trial(self, now: Card) -> list[str]:
        """Return, in words, why a trial of this search cannot go on in a later one."""
        found, mine, its = self.told_changes(now), self.arguments, now.arguments
        trainings = ("cv", "executions_per_trial")
        if mine and its and any(mine.get(name) != its.get(name) for name in trainings):
            found.append("its trainings are others")
        if not self.has_like(now, "validation"):
            found.append("the validation data has changed")
        return found

    def has_like(self, now: Card, data: str, *, surely: bool = False) -> bool:
        """Whether the "training" or "validation" data of a search may be ours, or surely is."""
        return _are_like(self.measured.get(data), now.measured.get(data), surely=surely)

    def is_same(self, other: Card) -> bool:
        """Whether another search surely had the same objective, arguments and data."""
        return (
            bool(self.arguments and other.arguments)
            and self.study.get("objective") == other.study.get("objective")
            and not self.changes(other).keys() - {"callbacks"}
            and all(self.has_like(other, one, surely=True) for one in ("training", "validation"))
        )

    @classmethod
    def like(
        cls,
        study: optuna.Study,
        key: str | None,
        trials: list[FrozenTrial],
        *,
        surely: bool = False,
    ) -> list[FrozenTrial]:
        """Return the trials that one search of a study may have run, going by their cards.

        Args:
            study: The study.
            key: The key of that search's card.
            trials: The trials to choose from, which may have run in other searches.
            surely: Whether to return only those with certainly the same code, arguments and data.
        """
        others = {TrialRecord(one).card for one in trials} - ({key} if surely else {key, None})
        if not others:  # no query, since most studies have one card
            return trials
        cards, unlike = cls.all_of(study), set()
        mine = cards.get(key or "", cls())
        for other in others:
            card = cards.get(other or "", cls())
            has_code = mine.code == card.code or not (mine.code and card.code)
            if not (has_code and (mine.is_same(card) if surely else not card.told_changes(mine))):
                unlike.add(other)
        return [one for one in trials if TrialRecord(one).card not in unlike]


def _are_like(one: Any, other: Any, *, surely: bool) -> bool:
    """Whether measures are the same, apart from rounding, since sums depend on their order.

    Args:
        one: A measure, or a text for what is unknown, or None without a card.
        other: Another one.
        surely: Whether what is unknown differs from everything, or from nothing.
    """
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_are_like(*pair, surely=surely) for pair in pairs)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)
    if surely or one == other:
        return bool(one == other)
    return any(value is None or str(value).startswith(Card.UNKNOWN) for value in (one, other))
