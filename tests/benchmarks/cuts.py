"""Cut the connections to a database three hundred times, and look at what is left of the search.

Run from the repository: `python -m tests.benchmarks.cuts [--cuts 300] [--trials 40]`. It exits
with 1 where anything is wrong.
"""

import math
import threading

from tests.benchmarks._aftermath import examine
from tests.benchmarks._survival import left_in, run_each, search, tuner_in
from tests.support.faults import CuttingProxy, wait_until
from tests.support.servers import SERVERS, database


def cut_soon(proxy, folder, cuts):
    """Cut once a trial is trained: a search waits for no database that it never reached."""
    wait_until((folder / "log").exists)
    proxy.cut_at_random(cuts)


def survive(server, folder, cuts, n_trials):
    """Search with two workers while connections are cut; return whether nothing was lost."""
    with database(server) as url, CuttingProxy(url) as proxy:
        threading.Thread(target=cut_soon, args=[proxy, folder, cuts], daemon=True).start()
        seen = search(folder, proxy.url, n_trials, copies=1)
        if proxy.cuts < cuts:
            seen.append(f"the search was over after {proxy.cuts} cuts")
        tuner = tuner_in(folder, url, n_trials)
        return examine(left_in(folder, tuner, seen, outages=[(None, 0, math.inf)]))


if __name__ == "__main__":
    run_each(survive, list(SERVERS), "cuts", 300, 40, __doc__)
