"""Objects that are kept for measuring, or chosen to be looked at: the same in every set of a library."""

import hashlib
from collections.abc import Iterable

from gen3d.pipeline.objects.object_set import ObjectSet


def without(objects: ObjectSet, others: ObjectSet) -> ObjectSet:
    """The objects of a set that are not in another one, which may be of the same library and drawn in another way."""
    ids = {record.id for record in others.records}
    return ObjectSet(objects.folder, [record for record in objects.records if record.id not in ids], objects.manifest)


def in_any_order(ids: Iterable[str]) -> list[str]:
    """Ids in an order that says nothing about objects and is always the same: that of their hashes."""
    return sorted(ids, key=lambda each: hashlib.sha256(each.encode()).digest())


def held_out(ids: Iterable[str], count: int) -> set[str]:
    """So many ids, the first in any order."""
    return set(in_any_order(ids)[:count])


def split_off(objects: ObjectSet, count: int) -> tuple[ObjectSet, ObjectSet]:
    """All but some objects, and those: the ones whose ids have the smallest hashes, the same in every set of the library."""
    kept = held_out([record.id for record in objects.records], count)
    holdout = ObjectSet(objects.folder, [record for record in objects.records if record.id in kept], objects.manifest)
    return without(objects, holdout), holdout
