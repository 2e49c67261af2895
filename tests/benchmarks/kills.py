"""Kill workers a hundred times on each kind of storage, and count what is lost.

Run from the repository: `python -m tests.benchmarks.kills [--kills 100] [--trials 60]`. It exits
with 1 where a trial or the weights of the best one were lost.
"""

from tests.benchmarks._survival import Search, run_each
from tests.support.faults import Killer
from tests.support.storages import KINDS, empty, opened


def survive(kind, folder, kills, n_trials):
    """Search with four workers while they are killed; say what came of it."""
    with empty(kind, folder) as storage:
        options = {"storage": opened(storage), "max_failed_trials": kills + 1}
        search = Search(folder, n_trials, **options)
        with Killer(kills, folder / "log", folder / "killed") as killer:
            search.run(epochs=20, n_workers=4)
        killed = len(killer.killed)
        is_whole = killed == kills and search.is_whole and not search.twice
        return is_whole, f"{killed} kills {search}"


if __name__ == "__main__":
    run_each(survive, KINDS, "kills", 100, 60, __doc__)
