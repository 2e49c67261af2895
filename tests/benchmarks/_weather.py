"""The faults of the storm, and the order in which they come."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.benchmarks._hosts import Host, Land, send
from tests.benchmarks._leader import read_diary

_PAUSES = (8.0, 20.0)  # seconds between two faults: with half of it two busy cores end no trial

# A fault does its harm, yields what it did, and makes good what is to be made good when it goes on.
# One that found nothing to harm yields nothing.


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    strike: Callable[[Land, Host, random.Random], Iterator[str]]
    cards: int  # how often it comes in one deck
    seconds: tuple[float, float] = (0, 0)  # how long it lasts, at least and at most
    place: str = ""  # what two faults must not have at the same time


def _training(land, host):
    """Return the workers of a host that have begun a trial: others only import TensorFlow."""
    begun = {line.process for line in read_diary(land.diary)}
    return [one for one in host.workers() if host.identity(one) in begun]


def _kill_worker(land, host, chance):
    if victims := _training(land, host):
        victim = chance.choice(victims)
        send([victim], signal.SIGKILL)
        yield f"worker {victim.pid}"


def _kill_leader(land, host, chance):
    if _training(land, host) and (leader := host.leader()):
        send([leader], signal.SIGKILL)
        yield f"leader {leader.pid}"


def _kill_host(land, host, chance):
    if _training(land, host):
        host.kill()
        yield "all of its processes at once; its disk stays"
        host.start()


def _interrupt(land, host, chance):
    if _training(land, host) and (leader := host.leader()):
        foreground = [leader, *host.workers()]
        send(foreground, signal.SIGINT)
        if is_second := chance.random() < 0.3:
            time.sleep(chance.uniform(0, 2))
            send(foreground, signal.SIGINT)
        yield "twice" if is_second else "once"


def _stop(victims, told):
    send(victims, signal.SIGSTOP)
    yield told
    send(victims, signal.SIGCONT)


def _stop_some(some, land, host, chance):
    if (workers := _training(land, host)) and (victims := some(host, workers, chance)):
        land.stopped |= {host.identity(one) for one in victims}
        yield from _stop(victims, f"{len(victims)} of its processes")


_stop_worker = partial(_stop_some, lambda host, workers, chance: chance.sample(workers, 1))
_stop_leader = partial(_stop_some, lambda host, workers, chance: [*filter(None, [host.leader()])])
_stop_host = partial(_stop_some, lambda host, workers, chance: host.processes())


def _fill(land, host, chance):
    host.fill_disk()
    yield "no room on its disk"
    host.free_disk()


def _cut(server, land, host, chance):
    gate, cuts = getattr(host, server), chance.randint(1, 8)
    before = gate.cuts
    gate.cut_at_random(cuts, chance=0.2, seed=chance.random())
    yield f"{cuts} connections to the {server}, at messages drawn by lot"
    # Those that did not come to be cut in time are spared.
    if not gate.is_shut and gate.cuts < before + cuts:
        gate.pass_on()


def _part(land, host, chance):
    return _shut([host.database, host.store], "it reaches neither server")


def _shut(gates, told):
    for gate in gates:
        gate.shut()
    yield told
    for gate in gates:
        gate.open()


def _restart_database(land, host, chance):
    land.server.stop()
    yield "it crashed"
    land.server.start()


def _restart_store(land, host, chance):
    return _shut([one.store for one in land.hosts], "it cuts off and refuses everybody")


def _hang_store(land, host, chance):
    return _stop([land.s3.process], "it answers nobody")


FAULTS = (
    Fault("worker killed", _kill_worker, 16),
    Fault("leader killed", _kill_leader, 6),
    Fault("host killed", _kill_host, 4, (3, 30), "host"),
    Fault("Ctrl-C", _interrupt, 6),
    Fault("worker stopped", _stop_worker, 3, (100, 100), "host"),
    Fault("leader stopped", _stop_leader, 2, (100, 100), "host"),
    Fault("host stopped", _stop_host, 2, (100, 100), "host"),
    Fault("disk full", _fill, 7, (5, 20), "disk"),
    Fault("connections cut", partial(_cut, "database"), 7, (10, 10), "network"),
    Fault("store connections cut", partial(_cut, "store"), 7, (10, 10), "network"),
    Fault("network gone", _part, 5, (3, 30), "network"),
    Fault("database restarted", _restart_database, 5, (0, 15), "database"),
    Fault("database away", _restart_database, 1, (100, 120), "database"),
    Fault("store restarted", _restart_store, 5, (2, 40), "network"),
    Fault("store hung", _hang_store, 2, (5, 30), "store"),
)
_OF_ALL = {"database", "network", "store"}  # places that all hosts share
_BACKUPS = {"disk", *_OF_ALL}  # without which no backup is made
_MARGIN = 10  # seconds around a fault in which it begins, or clients find what they have lost
_FEW = 4  # cards that may wait, as for a host that trains, before a new deck is put on them


class Weather:
    """Let faults come one after the other, several at a time, until it is calm."""

    def __init__(self, land, seed):
        self._land, self._began = land, time.monotonic()
        self._chance = random.Random(seed)  # fixes their order, as far as it can be
        self._deck, self._lasting, self._busy = [], [], set()
        self._calm = threading.Event()
        self.outages = []  # of what a backup needs, as the judge wants them
        self.counts = Counter({fault.name: 0 for fault in FAULTS})

    def blow(self):
        """Strike once, and wait for a moment."""
        for _ in FAULTS:
            host = self._chance.choice(self._land.hosts)
            if (fault := self._draw(host)) is None:
                continue
            steps = fault.strike(self._land, host, self._chance)
            if (told := next(steps, None)) is not None:
                self._last(fault, host, steps, told)
                break
            self._deck.append(fault)  # for later: it found nothing to harm
        self._calm.wait(self._chance.uniform(*_PAUSES))

    def _draw(self, host):
        """Draw from a deck, so that each kind comes as often as it should."""
        if len(self._deck) <= _FEW:
            deck = [fault for fault in FAULTS for _ in range(fault.cards)]
            self._chance.shuffle(deck)
            self._deck.extend(deck)
        for fault in self._deck:
            if not self._place(fault, host) & self._busy:
                self._deck.remove(fault)
                return fault
        return None

    def _place(self, fault, host):
        """Return what no other fault may have meanwhile."""
        if not fault.place:
            return set()
        return {fault.place if fault.place in _OF_ALL else f"{fault.place} of {host.name}"}

    def _last(self, fault, host, steps, told):
        """Tell of a fault, and let it end in its time."""
        seconds = self._chance.uniform(*fault.seconds)
        is_of_all = fault.strike in (_restart_database, _restart_store, _hang_store)
        where = "" if is_of_all else f"{host.name}: "
        lasts = f", for {seconds:.0f} s" if seconds else ""
        self.tell(f"{where}{fault.name}: {told}{lasts}")
        self.counts[fault.name] += 1
        place = self._place(fault, host)
        self._busy |= place
        began = time.monotonic() - _MARGIN

        def end():
            self._calm.wait(seconds)
            for _ in steps:
                pass  # what is to be made good
            self._busy -= place
            if fault.place in _BACKUPS:
                ended = time.monotonic() + _MARGIN
                self.outages.append((None if is_of_all else host.name, began, ended))

        thread = threading.Thread(target=end, daemon=True)
        self._lasting.append(thread)
        thread.start()

    def tell(self, line):
        """Print a line with the time since the beginning."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"[{minutes:02d}:{seconds:02d}] {line}", flush=True)

    def end(self):
        """Make all good, and let no more faults come."""
        self._calm.set()
        for thread in self._lasting:
            thread.join()
