"""Four chaos games side by side, on the lanes of vectors: x, y, z and a spare one.

numba vectorises loops, not the twelve multiplications and additions of one affine map, and fusing none of them into another
is what keeps the same bits on every processor. So one step is spelt out for LLVM. Without numba's compiler it is the plain
function.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

CHAINS = 4
"""How many games are played side by side: enough to keep a processor busy while each waits for its last point."""

LANES = 4
POINT, SUM, SQUARES, LOW, HIGH = range(5)
"""The rows of a chain's state."""

N_ROWS = 5


def advance(maps, number, state, chain):  # type: ignore[no-untyped-def]
    """Take a chain to the image of its point under a map, and count the new point in the chain's statistics.

    Parameters
    ----------
    maps : float64 (any number of maps, 4, 4), contiguous; the three columns of the matrix, then the translation; x, y, z, 0
    number : int64; which map
    state : float64 (chains, 5, 4), contiguous, changed; the point, then the sum, the sum of squares, the least and the
        greatest value of each coordinate so far
    chain : int64; which chain
    """
    a, b, c, shift = maps[number]
    x, y, z, _ = state[chain, POINT]
    point = (a * x + b * y) + (c * z + shift)
    state[chain, POINT] = point
    state[chain, SUM] += point
    state[chain, SQUARES] += point * point
    for lane in range(LANES):
        if point[lane] < state[chain, LOW, lane]:
            state[chain, LOW, lane] = point[lane]
        if point[lane] > state[chain, HIGH, lane]:
            state[chain, HIGH, lane] = point[lane]


_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_ALL_OF = [ir.Constant(ir.VectorType(ir.IntType(32), LANES), [lane] * LANES) for lane in range(3)]
_ALIGNMENT = 8


class _Rows:
    """The rows of four float64 of an array, from one of them on."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, first: Any) -> None:
        self._builder = builder
        data = context.make_array(array_type)(context, builder, array).data
        self._rows = builder.gep(builder.bitcast(data, _VECTOR.as_pointer()), [first])

    def __getitem__(self, row: int) -> Any:
        loaded = self._builder.load(self._builder.gep(self._rows, [ir.Constant(_INT, row)]))
        loaded.align = _ALIGNMENT
        return loaded

    def __setitem__(self, row: int, value: Any) -> None:
        self._builder.store(value, self._builder.gep(self._rows, [ir.Constant(_INT, row)]), align=_ALIGNMENT)


@intrinsic
def _advance(typing_context, maps, number, state, chain):  # type: ignore[no-untyped-def]
    def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        maps, number, state, chain = arguments
        m = _Rows(context, builder, signature.args[0], maps, builder.mul(number, ir.Constant(_INT, LANES)))
        s = _Rows(context, builder, signature.args[2], state, builder.mul(chain, ir.Constant(_INT, N_ROWS)))
        old = s[POINT]
        x, y, z = (builder.shuffle_vector(old, old, lanes) for lanes in _ALL_OF)
        point = builder.fadd(
            builder.fadd(builder.fmul(m[0], x), builder.fmul(m[1], y)), builder.fadd(builder.fmul(m[2], z), m[3])
        )
        s[POINT] = point
        s[SUM] = builder.fadd(s[SUM], point)
        s[SQUARES] = builder.fadd(s[SQUARES], builder.fmul(point, point))
        for row, order in ((LOW, "<"), (HIGH, ">")):
            s[row] = builder.select(builder.fcmp_ordered(order, point, s[row]), point, s[row])
        return context.get_dummy_value()

    return types.void(maps, types.int64, state, types.int64), _generate


@overload(advance)
def _compiled(maps, number, state, chain):  # type: ignore[no-untyped-def]
    return lambda maps, number, state, chain: _advance(maps, number, state, chain)  # type: ignore[call-arg]


@njit(cache=True)
def survey(maps, choices, state):  # type: ignore[no-untyped-def]
    """Play a chaos game from the origin for each of four systems, keeping statistics instead of points.

    Parameters
    ----------
    maps : float64 (4, maps, 4, 4); of each map the three columns of its matrix, then its translation; x, y, z, 0
    choices : uint8 (4, points)
    state : float64 (4, 5, 4), written; of each system, for x, y, z, 0: the last point, then the sum, the sum of the squares,
        the least and the greatest value of each coordinate; the points are those of `iterate`, bit for bit
    """
    n_maps = maps.shape[1]
    flat = maps.reshape(-1, 4, 4)
    state[:, :] = 0.0
    state[:, LOW], state[:, HIGH] = math.inf, -math.inf
    for i in range(choices.shape[1]):
        for chain in range(CHAINS):
            advance(flat, chain * n_maps + np.int64(choices[chain, i]), state, chain)  # type: ignore[no-untyped-call]
