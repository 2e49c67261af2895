"""Cut the connections to a database three hundred times in a search, and count what is lost.

Run from the repository: `python -m tests.benchmarks.cuts [--cuts 300] [--trials 40]`. It exits
with 1 where a trial, an epoch or the weights of the best trial were lost.
"""

from tests.benchmarks._survival import Search, run_each
from tests.support.faults import CuttingProxy
from tests.support.servers import SERVERS, database


def survive(server, folder, cuts, n_trials):
    """Search with two workers while connections are cut; say what came of it."""
    with database(server) as url, CuttingProxy(url) as proxy:
        search = Search(folder, n_trials, storage=proxy.url)
        assert search.tuner.study.trials == []
        proxy.cut_at_random(cuts)
        search.run(epochs=10, n_workers=2)
        return proxy.cuts >= cuts and search.is_whole, f"{proxy.cuts} cuts {search}"


if __name__ == "__main__":
    run_each(survive, list(SERVERS), "cuts", 300, 40, __doc__)
