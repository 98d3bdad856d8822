"""A seed bank: noise that serves every condition of a model well (after Ma et al. 2023, arXiv 2305.15357).

Seeds go with a model, a resolution, a solver and a grid; keep several, because one alone makes everything alike.
"""

from collections.abc import Callable, Sequence

Loss = Callable[[int, int], float]  # of a seed and the number of a reference: how far the result is from it


def best_seeds(loss: Loss, seeds: Sequence[int], references: int, *, keep: int = 1, first: int = 4) -> list[int]:
    """The seeds with the least mean loss over references. Each round has four times the references and a quarter of the seeds.

    Args:
        loss: perceptual; with a squared error the best noise is none, which blurs.
        seeds: candidates.
        references: how many there are.
        keep: how many seeds are returned, best first.
        first: references of the first round.

    Raises:
        ValueError: there are fewer seeds than are to be kept, or no references.
    """
    if not 1 <= keep <= len(seeds) or references < 1:
        raise ValueError(f"{keep} of {len(seeds)} seeds are to be kept after {references} references; give enough of both")
    losses: dict[int, list[float]] = {seed: [] for seed in seeds}
    alive, seen = list(seeds), min(first, references)
    while True:
        for seed in alive:
            losses[seed] += [loss(seed, number) for number in range(len(losses[seed]), seen)]
        alive.sort(key=lambda seed: sum(losses[seed]) / seen)
        if seen == references:
            return alive[:keep]
        alive, seen = alive[: max(keep, -(-len(alive) // 4))], min(4 * seen, references)
