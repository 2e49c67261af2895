"""Search on three hosts in a storm of faults for twenty minutes, and look at what is left of it.

Run from the repository, as root on Linux, with PostgreSQL and moto installed:
`python -m tests.benchmarks.storm [--minutes 20] [--trials N] [--seed 0]`.

Six workers search, two on each of three hosts, with a PostgreSQL server and an S3 server of their
own. The faults are real but for these: a host is a set of namespaces (`_hosts.py` says which); and
moto, which keeps all of its files in memory, is never restarted: it is stopped, or the ways to it
are shut, which for its clients is the same.

`--minutes 0` makes no fault: the search and the checks alone.
"""

import argparse
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import _aftermath
from tests.benchmarks._hosts import land, send
from tests.benchmarks._leader import EPOCHS, make_tuner, open_bucket, read_diary
from tests.benchmarks._weather import Weather

_HOSTS = ("node1", "node2", "node3")
A_MINUTE = 28  # trials that six workers do not finish in one, in that weather
_LOOK = 2  # seconds between two looks at trials whose processes died
_CLIENTS = """
SELECT application_name || ' ' || state FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_FINISHED = "SELECT number FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
_DIED = """
SELECT number FROM trials JOIN trial_user_attributes USING (trial_id)
WHERE state = 'FAIL' AND key = 'stop_reason' AND value_json LIKE '"its worker died%%'
"""
LAST = 6  # when so few trials are left, the weather turns calm
_PATIENCE = 300  # seconds in which something must be trained, once it is calm


def in_storm(ground, minutes, n_trials, seed):
    """Search in a storm; return whether all checks passed."""
    with land(ground, _HOSTS, n_trials) as there:
        weather, over = Weather(there, seed), threading.Event()
        witness = threading.Thread(target=watch, args=[there, over], daemon=True)
        witness.start()
        try:
            for host in there.hosts:
                host.start()
            until = time.monotonic() + 60 * minutes
            while time.monotonic() < until and n_left(there, n_trials) > LAST:
                weather.blow()
        finally:
            weather.end()  # before the hosts are killed: a fault may be about to boot one again
        weather.tell(f"calm; {n_left(there, n_trials)} of {n_trials} trials are left")
        weather.tell("the hosts are done" if end(there) else "a host hangs; its log says where")
        over.set()
        witness.join()
        ends = Counter(how for _, how in there.ends_of_searches())
        for title, counts in (("faults", weather.counts), ("ends of searches", ends)):
            print(f"{title}:", ", ".join(f"{name} {count}" for name, count in counts.items()))
        left = left_on(there, weather.outages, n_trials)
        _aftermath.tell(left, there.told)
        # A storm that finds no worker to kill would pass all checks.
        never = [name for name, count in weather.counts.items() if minutes >= 20 and not count]
        if never:
            print(f"FAIL Each kind of fault came at least once.\n       never: {', '.join(never)}")
        return _aftermath.examine(left) and not never


def left_on(there, outages, n_trials):
    """Return what a storm left; connections come before the judge opens its own."""
    remains = [f"{host.name}: {one}" for host in there.hosts for one in host.processes()]
    remains += [f"a connection: {one}" for one in there.ask(_CLIENTS)]
    remains += [one for host in there.hosts for one in host.left_on_disk()]
    ends = [f"{host}: {how}" for host, how in there.ends_of_searches() if how.startswith("UNTOLD")]
    seen, store = ends + there.robbed, partial(open_bucket, there.s3.url)
    tuner = make_tuner(there.server.url, store, "tuning", n_trials)
    lines = read_diary(there.diary)
    return _aftermath.Aftermath(tuner, lines, EPOCHS, there.s3.keys, outages, remains, seen)


def n_left(there, n_trials):
    """Return how many trials are to be finished; all where the database does not answer now."""
    return n_trials - len(there.ask(_FINISHED))


def watch(there, over):
    """Note, until it is over, which trials are taken away from processes that live."""
    known = set()
    while not over.wait(_LOOK):
        for number in set(there.ask(_DIED)) - known:
            known.add(number)
            owners = {line.process for line in read_diary(there.diary) if line.trial == number}
            alive = {host.identity(one) for host in there.hosts for one in host.workers()}
            for owner in (owners & alive) - there.stopped:
                there.robbed.append(f"trial {number} was taken for dead, and {owner} lives")


def end(there):
    """Wait until all hosts are done; False where that does not come, though it is calm."""
    size, since = 0, time.monotonic()
    while not all(host.is_done for host in there.hosts):
        if there.diary.exists() and (grown := there.diary.stat().st_size) != size:
            size, since = grown, time.monotonic()
        if time.monotonic() - since > _PATIENCE:
            for host in there.hosts:
                send(host.processes(), signal.SIGABRT)  # each thread then prints where it is
            time.sleep(1)
            return False
        time.sleep(0.5)
    return True


def check_machine():
    """Exit where the storm cannot be made."""
    missing = [name for name in ("unshare", "initdb", "pg_ctl") if shutil.which(name) is None]
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("Only root on Linux may make namespaces and mount disks; run it in a container.")
    if missing:
        sys.exit(f"There is no {' and no '.join(missing)}: apt-get install postgresql.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--trials", type=int, help=f"default: {A_MINUTE} a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder, where logs stay")
    arguments = parser.parse_args()
    n_trials = arguments.trials or max(LAST, round(A_MINUTE * arguments.minutes))
    os.environ["PATH"] += "".join(f":{path}" for path in Path("/usr/lib/postgresql").glob("*/bin"))
    check_machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left then either
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
    lasting = nullcontext(arguments.keep) if arguments.keep else TemporaryDirectory(prefix="storm-")
    with lasting as folder:
        sys.exit(not in_storm(Path(folder).resolve(), arguments.minutes, n_trials, arguments.seed))


if __name__ == "__main__":
    main()
