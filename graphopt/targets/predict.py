"""What a lowered program will cost: instructions, cycles of the proxy and bytes, before anything is compiled."""

from __future__ import annotations

from collections import Counter

from graphopt.targets.calls import Lowered, Predicted
from graphopt.targets.costs import Known


def driver_work(lowered: Lowered) -> Counter[str]:
    """What the function that calls the kernels consists of."""
    arguments = [a for call in lowered.calls for a in call.arguments]
    loops = sum(loop.turns > 1 for loop in lowered.loops)
    counts = {"function": 1, "call": len(lowered.calls), "argument": len(arguments), "loop": loops}
    return Counter({**counts, "step": sum(a.step != 0 for a in arguments)})


def predicted(lowered: Lowered, known: Known) -> Predicted:
    """What a program will cost."""
    works = {name: built.work for name, built in lowered.kernels.items()}
    costs = {name: known.run(work) for name, work in works.items()}
    turns = [(call.kernel, loop.turns) for loop in lowered.loops for call in loop.calls]
    instructions, cycles = (sum(n * costs[kernel][i] for kernel, n in turns) for i in (0, 1))
    code = sum(known.code(work) for work in works.values()) + sum(map(known.routine, known.routines(works.values())))
    code += sum(known.costs.driver.get(name, 0) * times for name, times in driver_work(lowered).items())
    return Predicted(round(instructions), round(cycles), round(code))
