"""The allow-list unpickler: a machine that understands every pickle instruction and can run nothing.

Python's own Unpickler with an overridden `find_class` would not do for files that anybody may have written: a ten-byte
file makes it allocate 64 GiB (the index of LONG_BINPUT sizes a table), BUILD calls methods of the objects it made, and
nested tuples as keys take exponential time to hash or overflow the C stack. Here the memo is a dict, every instruction
costs one step of a budget, and objects are the records of `records`.

Source: the opcodes as documented in CPython's `Lib/pickletools.py`, protocols 0 to 5.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from .allowed import construct, hashable, resolve
from .limits import Budget, UnreadableError, damaged
from .records import ArrayRecord, DtypeRecord, Instance, Name, TensorRecord
from .stream import LITERALS, MEMO_INDEX, Stream

Persistent = Callable[[Any], Any]
"""Turns a persistent id (how torch refers to a storage) into a value."""


def unpickle(stream: Stream, budget: Budget, persistent: Persistent | None = None) -> Any:
    """The value of the pickle that starts here: plain containers, numbers, text and records.

    Raises UnreadableError for a name that is not on the allow-list and for anything malformed. `stream` is left behind
    the pickle's last byte. Objects that the pickle shares are shared in the value.
    """
    return _Machine(stream, budget, persistent).run()


class _Machine:
    def __init__(self, stream: Stream, budget: Budget, persistent: Persistent | None) -> None:
        self.stream = stream
        self.budget = budget
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int | float, Any] = {}

    def run(self) -> Any:
        while True:
            self.budget.spend_steps()
            code = self.stream.take(1)
            if code in LITERALS:
                self.stack.append(LITERALS[code](self.stream))
            elif code in MEMO_INDEX:
                self.remember_or_recall(code, MEMO_INDEX[code](self.stream))
            elif code in _INSTRUCTIONS:
                _INSTRUCTIONS[code](self)
            elif code == pickle.STOP:
                return self.pop()
            else:
                raise damaged(f"it holds the unknown pickle instruction {code!r}")

    def pop(self) -> Any:
        if not self.stack:
            raise damaged("its pickle takes more values than it has")
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        """All values since the last mark."""
        if not self.marked:
            raise damaged("its pickle ends a list that never began")
        values, self.stack = self.stack, self.marked.pop()
        return values

    def top(self) -> Any:
        if not self.stack:
            raise damaged("its pickle takes more values than it has")
        return self.stack[-1]

    def remember_or_recall(self, code: bytes, index: int | float) -> None:
        if code in (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT):
            self.memo[index] = self.top()
        elif index in self.memo:
            self.stack.append(self.memo[index])
        else:
            raise damaged(f"its pickle recalls value {index}, which it never stored")

    def protocol(self) -> None:
        version = self.stream.unsigned(1)
        if version > pickle.HIGHEST_PROTOCOL:
            raise UnreadableError(f"is a pickle of protocol {version}, newer than any known. Save it with protocol 4.")

    def frame(self) -> None:
        """Frames only help reading ahead."""
        self.stream.take(8)

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def pop_one(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_marked()

    def drop_marked(self) -> None:
        self.pop_marked()

    def duplicate(self) -> None:
        self.stack.append(self.top())

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def make_tuple(self) -> None:
        values = tuple(self.pop_marked())
        self.stack.append(values)

    def make_short_tuple(self, length: int) -> None:
        values = [self.pop() for _ in range(length)]
        self.stack.append(tuple(reversed(values)))

    def make_list(self) -> None:
        values = self.pop_marked()
        self.stack.append(values)

    def make_dict(self) -> None:
        values = self.pop_marked()
        made: dict[Any, Any] = {}
        _set_items(made, values)
        self.stack.append(made)

    def make_frozen_set(self) -> None:
        values = self.pop_marked()
        self.stack.append({hashable(value) for value in values})

    def append(self) -> None:
        value = self.pop()
        _extend(self.top(), [value])

    def appends(self) -> None:
        values = self.pop_marked()
        _extend(self.top(), values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        _set_items(self.top(), [key, value])

    def set_items(self) -> None:
        values = self.pop_marked()
        _set_items(self.top(), values)

    def add_items(self) -> None:
        values = self.pop_marked()
        target = self.top()
        if not isinstance(target, set):
            raise damaged("its pickle adds elements to something that is no set")
        target.update(hashable(value) for value in values)

    def name_from_lines(self) -> Name:
        module, name = self.stream.line(), self.stream.line()
        return resolve(module.decode("utf-8", "replace"), name.decode("utf-8", "replace"))

    def push_name(self) -> None:
        self.stack.append(self.name_from_lines())

    def push_stacked_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(resolve(module, name))

    def call(self) -> None:
        """REDUCE and NEWOBJ alike: a name and a tuple of arguments."""
        args, name = self.pop(), self.pop()
        self.stack.append(construct(name, args, self.budget))

    def call_with_keywords(self) -> None:
        keywords, args, name = self.pop(), self.pop(), self.pop()
        if keywords:
            raise damaged("its pickle makes an object from named arguments")
        self.stack.append(construct(name, args, self.budget))

    def call_marked(self) -> None:
        name, *args = self.pop_marked() or [None]
        self.stack.append(construct(name, tuple(args), self.budget))

    def call_named(self) -> None:
        name = self.name_from_lines()
        args = tuple(self.pop_marked())
        self.stack.append(construct(name, args, self.budget))

    def build(self) -> None:
        state = self.pop()
        _give_state(self.top(), state)

    def push_persistent_line(self) -> None:
        self.push_persistent(self.stream.line().decode("utf-8", "replace"))

    def push_persistent_value(self) -> None:
        self.push_persistent(self.pop())

    def push_persistent(self, reference: object) -> None:
        if self.persistent is None:
            raise damaged("its pickle refers to values that are stored elsewhere")
        self.stack.append(self.persistent(reference))

    def extension(self) -> None:
        raise UnreadableError(
            "refers to classes by number (pickle's extension registry), which weights never do; nothing was executed. "
            "Use the authors' own file."
        )

    def outside_buffer(self) -> None:
        raise UnreadableError(
            "keeps its arrays outside the file (pickle protocol 5 with buffers). Save it with protocol 4."
        )


def _extend(target: object, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, Instance):
        target.entries.extend(values)
    else:
        raise damaged("its pickle appends to something that is no list")


def _set_items(target: object, values: list[Any]) -> None:
    """values: key, value, key, value …"""
    table = target.items if isinstance(target, Instance) else target
    if not isinstance(table, dict) or len(values) % 2:
        raise damaged("its pickle fills something that is no table")
    for key, value in zip(values[::2], values[1::2], strict=True):
        table[hashable(key)] = value


def _give_state(target: object, state: Any) -> None:
    if isinstance(target, Instance):
        target.state = state
    elif isinstance(target, ArrayRecord):
        _give_array_state(target, state)
    elif isinstance(target, DtypeRecord):
        _give_dtype_state(target, state)
    elif not isinstance(target, dict | TensorRecord):  # whose attributes (`_metadata` of a state dict) are not weights
        raise damaged("its pickle gives a state to something that has none")


def _give_array_state(array: ArrayRecord, state: Any) -> None:
    """(version, shape, dtype, column-major, content); files of NumPy before 1.0 lack the version."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise damaged("an array has no proper state")
    array.shape, array.dtype, fortran, array.content = state[-4:]
    array.fortran = bool(fortran) if isinstance(fortran, int) else False


def _give_dtype_state(dtype: DtypeRecord, state: Any) -> None:
    """(version, byte order, subarray, names, fields, …)."""
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|"):
        raise damaged("the type of an array has no proper state")
    dtype.order = state[1]
    dtype.structured = any(part is not None for part in state[2:5])


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.FRAME: _Machine.frame,
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.pop_one,
    pickle.POP_MARK: _Machine.drop_marked,
    pickle.DUP: _Machine.duplicate,
    pickle.MEMOIZE: _Machine.memoize,
    pickle.TUPLE: _Machine.make_tuple,
    pickle.TUPLE1: lambda machine: machine.make_short_tuple(1),
    pickle.TUPLE2: lambda machine: machine.make_short_tuple(2),
    pickle.TUPLE3: lambda machine: machine.make_short_tuple(3),
    pickle.LIST: _Machine.make_list,
    pickle.DICT: _Machine.make_dict,
    pickle.FROZENSET: _Machine.make_frozen_set,
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.appends,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_items,
    pickle.ADDITEMS: _Machine.add_items,
    pickle.GLOBAL: _Machine.push_name,
    pickle.STACK_GLOBAL: _Machine.push_stacked_name,
    pickle.REDUCE: _Machine.call,
    pickle.NEWOBJ: _Machine.call,
    pickle.NEWOBJ_EX: _Machine.call_with_keywords,
    pickle.OBJ: _Machine.call_marked,
    pickle.INST: _Machine.call_named,
    pickle.BUILD: _Machine.build,
    pickle.PERSID: _Machine.push_persistent_line,
    pickle.BINPERSID: _Machine.push_persistent_value,
    pickle.EXT1: _Machine.extension,
    pickle.EXT2: _Machine.extension,
    pickle.EXT4: _Machine.extension,
    pickle.NEXT_BUFFER: _Machine.outside_buffer,
    pickle.READONLY_BUFFER: _Machine.outside_buffer,
}
"""Everything but literals and the memo."""
