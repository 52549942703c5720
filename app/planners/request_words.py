"""What the words of a request mean to the runbooks: which count, in which form, and which order a change."""

import re
from functools import cache


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that say nothing of the subject.
STOP_WORDS = _words_of(
    """
    a about after all also am an and any anything are as at be because been before being between but by
    can check could current currently diagnose did display do does each everything find for from get give
    going had has have having hello help hey hi how i if in inspect into investigate is it its just know
    let like list look looking machine many me more most much my need not now of off on one or our out
    over please print report see server shall should show since so some tell than that the their them then
    there these they thing this those to today too us using very via want was we were what what's when
    where whether which while who why will with would yet you your box host linux debian ubuntu
    """
)

# Words that may come before the verb of an order.
POLITE_WORDS = _words_of(
    """
    a also and can could do does first help hello hey hi how i just kindly let like me must need next now
    please should the then to us want we will would you
    """
)

# Verbs that ask for a change, where they are the verb of an order.
ORDERS_TO_CHANGE = _words_of(
    """
    add allow apply block build change clean clear close compose configure copy create delete deny deploy
    destroy disable drop empty enable encrypt erase expand fix flush force format grant harden increase
    insert install kill make migrate mount move open optimise optimize patch purge reboot reduce rebuild
    reindex remove rename repair replace reset resize restart restore revoke rotate set shut start stop
    terminate translate truncate tune unblock uninstall unmount update upgrade vacuum wipe write
    """
)


@cache
def stem(word: str) -> str:
    """Return a lower-case word without the plural's ending."""
    for ending, instead in (("sses", "ss"), ("xes", "x"), ("ies", "y")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + instead
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def stems(text: str) -> tuple[str, ...]:
    """Return the stemmed words of a text, stop words and numbers left out."""
    return tuple(stem(word) for word in _words(text) if word not in STOP_WORDS and not word.isdigit())


def _words(text: str) -> list[str]:
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return [word.removesuffix("'s") for word in re.findall(r"i/o|[^\W_]+(?:['._-][^\W_]+)*", plain)]


def orders_to_change(text: str) -> set[str]:
    """Return the verbs of change that a request gives as orders: at its start, after `and` or a comma."""
    orders = set()
    for clause in re.split(r"[.,;:!?\n]|\b(?:and|then)\b", text.lower()):
        verb = next((word for word in _words(clause) if word not in POLITE_WORDS), "")
        if verb in ORDERS_TO_CHANGE:
            orders.add(stem(verb))
    return orders
