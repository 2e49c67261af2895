"""Small models and data of every kind that Keras's own documentation shows.

Each is an `Animal`: a builder, the data that goes with it, and the objective. Plain Keras trains
them all, so a search must train them to the same numbers, or refuse them in one line before
anything is trained. `tests/benchmarks/zoo.py` compares the two.
"""

from tests.zoo import data, layers, models, shapes, stateful
from tests.zoo.animal import Animal, trained_plainly

ANIMALS = layers.ANIMALS | models.ANIMALS | data.ANIMALS | shapes.ANIMALS | stateful.ANIMALS

__all__ = ["ANIMALS", "Animal", "trained_plainly"]
