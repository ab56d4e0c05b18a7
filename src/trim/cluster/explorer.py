"""A bank whose problems are explored on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from trim.bank.record import RecordedProblem
from trim.bank.table import decode
from trim.cluster.pool import Deadly, Pool
from trim.cluster.task import problem_to_json
from trim.errors import ModelUnavailable
from trim.evaluation.bill import Bill
from trim.evaluation.problem_set import Gradable


@dataclass(frozen=True)
class ClusterExplorer:
    """As `trim.bank.explorer.Explorer`, with workers elsewhere."""

    pool: Pool
    bill: Bill

    async def __aenter__(self) -> ClusterExplorer:
        await self.pool.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.pool.__aexit__(*error)

    async def explore(self, problem: Gradable) -> RecordedProblem:
        """Raises ModelUnavailable for a problem of which workers die."""
        try:
            answer, content = await self.pool.explore(problem_to_json(problem))
        except Deadly as deadly:
            raise ModelUnavailable(f"problem {problem.id}: {deadly}") from deadly
        self.bill.take_over(answer["bill"])
        (recorded,) = decode(BytesIO(content))
        return recorded
