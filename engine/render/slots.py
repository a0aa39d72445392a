"""Which of HAProxy's backends serves which route.

A running HAProxy can neither add nor rename a backend, but it can change the servers of one. So its backends are slots,
some of them free: a new route takes a free slot, and a removed route leaves the connections that it still has in its
own. A route keeps its slot as long as it is in the spec; one that returns gets its former slot, if that is still free.
"""

from collections.abc import Collection, Sequence
from itertools import islice, product
from string import ascii_letters

from engine.render.config import SPLIT_PORT

SPARE = 2
"""The fewest free slots at first: a rollout replaces one route, and the next rollout another one."""
STEP = 4
"""The number of slots is a multiple of this: another number takes a reload."""

Slots = tuple[tuple[int, str], ...]
"""The index of each slot, and its present or last backend, empty if there was none.

Free slots precede the others, and the one that has been free for the longest time is the first: the connections of its
last backend are the fewest.
"""


def slot_names(count: int) -> tuple[str, ...]:
    """The names of HAProxy's backends, if there are so many: letters, since each connection reads one.

    Names of one length: a turn of the schedule is such a name. HAProxy's commands would take digits for an id.
    """
    length = 1 if count <= len(ascii_letters) else 2
    return tuple("".join(letters) for letters in islice(product(ascii_letters, repeat=length), count))


def backends_by_slot(slots: Slots) -> tuple[str, ...]:
    """The present or last backend of each slot, in the order of their indexes."""
    return tuple(backend for _, backend in sorted(slots))


def listening_port(name: str, doors: Slots) -> int:
    """Where the proxies listen for the further port of this name; doors are assigned as slots are."""
    return SPLIT_PORT + 1 + backends_by_slot(doors).index(name)


def assign(former: Slots, used: Collection[str], backends: Sequence[str]) -> Slots:
    """The slots of these backends, after the `former` slots, of which the backends `used` were served.

    A slot passes from one backend to another only through a configuration in which it is free: a running proxy cannot
    replace both its servers and its share of the connections at one moment. If no slot is free, there are more, which
    takes a reload. There are never fewer.
    """
    known = {backend for _, backend in former}
    new = [backend for backend in backends if backend not in known]
    free = [(index, backend) for index, backend in former if backend not in {*used, *backends}]
    if len(new) > len(free):
        count = -(-(len({*used, *backends}) + SPARE) // STEP) * STEP
        free = [*((index, "") for index in range(len(former), count)), *free]
    removed = [slot for slot in former if slot[1] in used and slot[1] not in backends]
    kept = [slot for slot in former if slot[1] in backends]
    taken = [(index, backend) for (index, _), backend in zip(free, new, strict=False)]
    return (*free[len(new) :], *removed, *sorted(kept + taken))
