"""Four chaos games side by side, on the lanes of vectors: x, y, z and a spare one.

A point must wait for the last one of its game; a processor need not wait, if there are other games to go on with. numba
vectorises loops, not the twelve multiplications and additions of one affine map, and fusing none of them into another is
what keeps the same bits on every processor. So the loop is spelt out for LLVM. Without numba's compiler it is plain Python.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

CHAINS = 4
"""How many games are played side by side: enough to keep a processor busy, few enough for its registers."""

LANES = 4
POINT, SUM, SQUARES, LOW, HIGH = range(5)
"""The rows of a game's statistics."""

N_ROWS = 5


def _advance_all(maps, choices, state, points):  # type: ignore[no-untyped-def]
    """Play on from `state`, as `play` says, without a compiler."""
    with np.errstate(all="ignore"):  # a system may diverge
        for i in range(choices.shape[1]):
            for chain in range(CHAINS):
                a, b, c, shift = maps[chain, choices[chain, i]]
                x, y, z, _ = state[chain, POINT]
                point = (a * x + b * y) + (c * z + shift)
                state[chain, POINT] = point
                state[chain, SUM] += point
                state[chain, LOW] = np.where(point < state[chain, LOW], point, state[chain, LOW])
                state[chain, HIGH] = np.where(point > state[chain, HIGH], point, state[chain, HIGH])
                if points is None:
                    state[chain, SQUARES] += point * point
                else:
                    points[chain, :, i] = point[:3]


_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_ALIGNMENT = 8


def _whole(value: int) -> Any:
    return ir.Constant(_INT, value)


class _Array:
    """A contiguous array of float64 or uint8, its elements counted from the first one in memory."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self._builder = builder
        self._array = context.make_array(array_type)(context, builder, array)

    def length(self, axis: int) -> Any:
        """Return its length along an axis."""
        return self._builder.extract_value(self._array.shape, axis)

    def place(self, element: Any) -> Any:
        """Return where an element stands."""
        return self._builder.gep(self._array.data, [element])

    def vector(self, row: Any) -> Any:
        """Return the place of a row of four elements."""
        return self._builder.gep(self._builder.bitcast(self._array.data, _VECTOR.as_pointer()), [row])


class _Game:
    """One of the games: its statistics stand in registers while it is played."""

    def __init__(self, builder: Any, chain: int, maps: _Array, choices: _Array, state: _Array) -> None:
        self._builder, self._chain = builder, chain
        self._maps, self._choices, self._state = maps, choices, state
        self._rows = [cgutils.alloca_once(builder, _VECTOR) for _ in range(N_ROWS)]  # type: ignore[no-untyped-call]
        for row, register in enumerate(self._rows):
            builder.store(builder.load(state.vector(_whole(chain * N_ROWS + row)), align=_ALIGNMENT), register)

    def _map(self, i: Any) -> list[Any]:
        """Return the three columns and the translation of the map that is chosen for point `i`."""
        b, chain = self._builder, _whole(self._chain)
        choice = b.load(self._choices.place(b.add(b.mul(chain, self._choices.length(1)), i)))
        row = b.mul(b.add(b.mul(chain, self._maps.length(1)), b.zext(choice, _INT)), _whole(LANES))
        return [b.load(self._maps.vector(b.add(row, _whole(k))), align=_ALIGNMENT) for k in range(LANES)]

    def advance(self, i: Any, points: _Array | None) -> None:
        """Take the game to point `i`, and keep either the point or its square."""
        b, old = self._builder, self._builder.load(self._rows[POINT])
        lanes = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), [lane] * LANES) for lane in range(3)]
        x, y, z = (b.shuffle_vector(old, old, all_of) for all_of in lanes)
        m = self._map(i)
        point = b.fadd(b.fadd(b.fmul(m[0], x), b.fmul(m[1], y)), b.fadd(b.fmul(m[2], z), m[3]))
        b.store(point, self._rows[POINT])
        b.store(b.fadd(b.load(self._rows[SUM]), point), self._rows[SUM])
        for row, order in ((LOW, "<"), (HIGH, ">")):
            register = self._rows[row]
            b.store(b.select(b.fcmp_ordered(order, point, b.load(register)), point, b.load(register)), register)
        if points is None:
            b.store(b.fadd(b.load(self._rows[SQUARES]), b.fmul(point, point)), self._rows[SQUARES])
            return
        for axis in range(3):
            element = b.add(b.mul(_whole(3 * self._chain + axis), points.length(2)), i)
            b.store(b.extract_element(point, ir.Constant(ir.IntType(32), axis)), points.place(element))

    def close(self) -> None:
        """Put the statistics back into memory."""
        for row, register in enumerate(self._rows):
            place = self._state.vector(_whole(self._chain * N_ROWS + row))
            self._builder.store(self._builder.load(register), place, align=_ALIGNMENT)


@intrinsic
def _advance_all_compiled(typing_context, maps, choices, state, points):  # type: ignore[no-untyped-def]
    def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def _of(argument: int) -> _Array:
            return _Array(context, builder, signature.args[argument], arguments[argument])

        kept = None if isinstance(points, types.NoneType) else _of(3)
        games = [_Game(builder, chain, _of(0), _of(1), _of(2)) for chain in range(CHAINS)]
        with cgutils.for_range(builder, _of(1).length(1)) as loop:
            for game in games:
                game.advance(loop.index, kept)
        for game in games:
            game.close()
        return context.get_dummy_value()

    return types.void(maps, choices, state, points), _generate


@overload(_advance_all)
def _compiled(maps, choices, state, points):  # type: ignore[no-untyped-def]
    return lambda maps, choices, state, points: _advance_all_compiled(maps, choices, state, points)  # type: ignore[call-arg]


@njit(cache=True)
def play(maps, choices, state, points):  # type: ignore[no-untyped-def]
    """Play a chaos game from the origin for each of four systems: a point is the image of the one before.

    Parameters
    ----------
    maps : float64 (4, maps, 4, 4); of each map the three columns of its matrix, then its translation; x, y, z, 0
    choices : uint8 (4, points); which map gives each point
    state : float64 (4, 5, 4), written; of each system, for x, y, z, 0: the last point, then the sum, the sum of the squares,
        the least and the greatest value of each coordinate
    points : float64 (4, 3, points), written; axes x, y, z. None keeps no points; if there are any, the squares stay 0.
    """
    state[:, :] = 0.0
    state[:, LOW], state[:, HIGH] = math.inf, -math.inf
    _advance_all(maps, choices, state, points)  # type: ignore[no-untyped-call]
