"""Where the two SDKs may differ, each with its reason; nothing else may."""

from typing import Final

# Name → reason. compare.py and program.py name the entry at the place where they apply it.
EXCEPTIONS: Final[dict[str, str]] = {
    "case_of_names": "The official SDK lower-cases names; the specification returns the first-seen case.",
    "extremes_of_deltas": "A delta is the difference of two cumulative values, which tells no extremes.",
    "cardinality_of_delta": "The official limit starts anew at each delta collection; here one admitted "
    "list holds for the run, so that no series wanders into the overflow.",
    "cardinality_of_observables": "Officially each reader admits the sets that its own collections saw; here "
    "the admitted list is shared by the readers.",
    "start_of_observables": "Officially an observable's series starts anew for each reader, at its own first "
    "collection; here it starts once, when a callback first reported it.",
    "random_reservoirs": "Which measurements the fixed-size reservoir keeps is random.",
    "scale_after_zeros": "The official SDK pins the scale at 0 when an interval saw only zeros.",
    "scale_of_deltas": "A delta has the scale of the whole histogram; the official one starts at the finest.",
    "official_merge_fails": "The official collection raises 'Incorrect merge scale' where a range of an "
    "exponential histogram was empty at its first collection and then receives values.",
    "unrecorded_extremes": "Where minimum and maximum are not recorded the official points say inf and -inf, "
    "which are no values; here they are None.",
    "zero_deltas": "A delta of 0 cannot be told from no measurement by cumulative values.",
    "type_of_deltas": "An int after a float is stored in the same series, whose sum is a float from then on.",
}
