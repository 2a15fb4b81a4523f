"""How orders get to clients and their answers back: here in this process, or each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Protocol

from graphopt.federated.client import Client, Memory, Task, answer, reason
from graphopt.federated.wire import Refused
from graphopt.progress import counted

OK, FAILED = b"+", b"-"
SIZE = struct.Struct("<Q")


@dataclass(frozen=True)
class Answer:
    """The bytes that a client sent, or why there are none."""

    data: bytes = b""
    failed: str | None = None


class Engine(Protocol):
    """What carries the messages of a round."""

    def ask(self, round: int, orders: Mapping[int, bytes]) -> Mapping[int, Answer]:
        """The answers of clients to orders, by the numbers of the clients. One that fails is answered for."""

    def memories(self) -> list[bytes]:
        """What the clients keep, where this engine has it: a checkpoint keeps it too."""

    def restore(self, memories: Sequence[bytes]) -> None:
        """Take up from what ``memories`` gave."""


@dataclass(eq=False)
class LocalEngine:
    """The reference: one client after the other, on this machine.

    With a ``time_limit`` in seconds each client learns in a process of its own, which is killed when its time is over;
    if that process dies, nothing else does. Without one, all learn in this process.
    """

    task: Task
    clients: Sequence[Client]
    time_limit: float | None = None
    kept: dict[int, Memory] = field(default_factory=dict)

    def ask(self, round: int, orders: Mapping[int, bytes]) -> dict[int, Answer]:
        answers = {}
        for index, order in counted(orders.items(), f"round {round}, client", len(orders)):
            try:
                kept = self.kept.get(index, Memory())
                data, self.kept[index] = asked(self.task, self.clients[index], index, order, kept, self.time_limit)
                answers[index] = Answer(data)
            except (Exception, SystemExit) as error:  # whatever a client's code raises ends that client's round alone
                answers[index] = Answer(failed=reason(error))
        return answers

    def memories(self) -> list[bytes]:
        return [self.kept[i].to_bytes() if i in self.kept else b"" for i in range(len(self.clients))]

    def restore(self, memories: Sequence[bytes]) -> None:
        self.kept = {i: Memory.from_bytes(data) for i, data in enumerate(memories) if data}


def asked(
    task: Task, client: Client, index: int, order: bytes, memory: Memory, time_limit: float | None
) -> tuple[bytes, Memory]:
    """``answer``, with a time limit in a process of its own. Raises ``Refused`` where that dies or takes longer."""
    if time_limit is None:
        return answer(task, client, index, order, memory)
    return in_process((task, client, index, order, memory), time_limit)


def in_process(given: tuple[Task, Client, int, bytes, Memory], time_limit: float) -> tuple[bytes, Memory]:
    """``answer`` in a process that is forked for it. Raises ``Refused`` where it dies, or takes longer."""
    context, end = multiprocessing.get_context("fork"), time.monotonic() + time_limit
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(there, *given), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(max(end - time.monotonic(), 0)):
            raise Refused(f"no answer in {time_limit:g} seconds")
        told = here.recv_bytes()
    except EOFError:
        process.join(5)
        raise Refused(f"its process ended with exit code {process.exitcode}") from None
    finally:
        here.close()
        process.kill()
        process.join()
    if told[:1] == FAILED:
        raise Refused(told[1:].decode())
    (size,) = SIZE.unpack_from(told, 1)
    rest = told[1 + SIZE.size :]
    return rest[:size], Memory.from_bytes(rest[size:])


def serve(there: Connection, task: Task, client: Client, index: int, order: bytes, memory: Memory) -> None:
    """In the process of a client: write the answer, or why there is none, and end without the parent's clean-up."""
    try:
        data, memory = answer(task, client, index, order, memory)
        there.send_bytes(OK + SIZE.pack(len(data)) + data + memory.to_bytes())
    except BaseException as error:
        there.send_bytes(FAILED + reason(error).encode())
    os._exit(0)
