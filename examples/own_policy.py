"""Route with a policy of your own: rewrite drafts that are both long and doubtful."""

from dataclasses import dataclass

import trim
from trim import Action, Observation, Policy, Router, RouterConfig, Sampling

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7. "
    "5) last, add 19. What is the result?"
)


@dataclass(frozen=True)
class LongSteps(Policy):
    """Rewrites drafts of more than `tokens` tokens that score below 0.9."""

    tokens: int

    @property
    def name(self) -> str:
        return f"long:{self.tokens}"

    def decide(self, observation: Observation) -> Action:
        is_long = observation.tokens[-1] > self.tokens
        is_doubtful = observation.scores[-1] < 0.9
        return Action.REGENERATE if is_long and is_doubtful else Action.CONTINUE


def main() -> None:
    models = trim.shipped_models()
    router = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=models.scorer,
        policy=LongSteps(tokens=10),
        config=RouterConfig(sampling=Sampling(max_tokens=96)),
    )
    trace = router.solve(QUESTION)
    print(f"{trace.policy}: answer {trace.answer}, {trace.interventions} rewrites")


if __name__ == "__main__":
    main()
