"""Made-up trees: a hidden state that breaks and can be mended, and noisy scores of it."""

from dataclasses import dataclass

import numpy as np

from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG, UNKNOWN, batch_trees


@dataclass
class Drawn:
    """A complete tree in the shape that `batch_trees` reads."""

    step: list
    draft_score: list
    draft_tokens: list
    strong_score: list
    strong_tokens: list
    continue_to: list
    regenerate_to: list


def draw_tree(random, length, weak=0.8, strong=0.97, noise=0.15, unknown=0.0):
    """All decisions of a problem of `length` steps.

    Args:
        weak, strong: next-step accuracies.
        noise: spread of a score around 0.9 (right) or 0.2 (wrong).
        unknown: share of the actions that were not recorded.
    """
    tree = Drawn([], [], [], [], [], [], [])

    def score(right):
        return float(np.clip((0.9 if right else 0.2) + noise * random.normal(), 0, 1))

    def grow(step, before_right):
        index = len(tree.step)
        right = bool(random.random() < weak)
        rewrite_right = bool(random.random() < strong)
        tree.step.append(step)
        tree.draft_score.append(score(right and before_right))
        tree.draft_tokens.append(int(random.integers(10, 40)))
        tree.strong_score.append(score(rewrite_right and before_right))
        tree.strong_tokens.append(int(random.integers(10, 40)))
        tree.continue_to.append(UNKNOWN)
        tree.regenerate_to.append(UNKNOWN)
        for field, good in ((tree.continue_to, right), (tree.regenerate_to, rewrite_right)):
            good_so_far = before_right and good
            if random.random() < unknown:
                continue
            if step == length:
                field[index] = LEAF_RIGHT if good_so_far else LEAF_WRONG
            else:
                field[index] = grow(step + 1, good_so_far)
        return index

    grow(1, True)
    return tree


def draw_trees(problems=60, seed=0, longest=4, **settings):
    random = np.random.default_rng(seed)
    return batch_trees(
        [
            draw_tree(random, int(random.integers(1, longest + 1)), **settings)
            for _ in range(problems)
        ]
    )


def drawn_policy(trees, seed, count=3):
    return np.random.default_rng(seed).random((len(trees), count))
