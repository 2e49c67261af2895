"""Kill workers a hundred times on each kind of storage, and look at what is left of the search.

Run from the repository: `python -m tests.benchmarks.kills [--kills 100] [--trials 60]`. Three
copies of a script start at the same moment, with two workers each. It exits with 1 where
anything is wrong.
"""

from tests.benchmarks._aftermath import examine
from tests.benchmarks._survival import left_in, run_each, search, tuner_in
from tests.support.faults import Killer
from tests.support.storages import KINDS, empty

_COPIES = 3


def survive(kind, folder, kills, n_trials):
    """Search while workers are killed; return whether nothing was lost."""
    with empty(kind, folder) as storage:
        with Killer(kills, folder / "log", folder / "killed") as killer:
            seen = search(folder, storage, n_trials, _COPIES)
        if (killed := len(killer.killed)) < kills:
            seen.append(f"the search was over after {killed} kills")
        tuner = tuner_in(folder, storage, n_trials)
        return examine(left_in(folder, tuner, seen))


if __name__ == "__main__":
    run_each(survive, KINDS, "kills", 100, 60, __doc__)
