"""Four chaos games side by side, on the lanes of vectors.

A game is latency-bound: each point needs the previous one. Four independent games hide that latency. numba does not vectorise
the twelve multiplications and additions of one affine map, and fusing any of them would change the last bit on some
processors. So the loop is built for LLVM here. Without numba's compiler, `chaos_plain.advance` runs instead.

llvmlite has the version that numba requires.
"""

import math
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from exfractal.chaos_plain import CHAINS, HIGH, LANES, LOW, N_ROWS, POINT, SQUARES, SUM, advance

_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_ALIGNMENT = 8


def _whole(value: int) -> Any:
    return ir.Constant(_INT, value)


class _Array:
    """A contiguous array of float64 or uint8, indexed by flat position."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self._builder = builder
        self._array = context.make_array(array_type)(context, builder, array)

    def length(self, axis: int) -> Any:
        """Return the length of an axis."""
        return self._builder.extract_value(self._array.shape, axis)

    def address(self, element: Any) -> Any:
        """Return the address of an element."""
        return self._builder.gep(self._array.data, [element])

    def row_address(self, row: Any) -> Any:
        """Return the address of a row of four elements."""
        return self._builder.gep(self._builder.bitcast(self._array.data, _VECTOR.as_pointer()), [row])


class _Game:
    """One game, with its statistics in registers."""

    def __init__(self, builder: Any, chain: int, maps: _Array, choices: _Array, state: _Array) -> None:
        self._builder, self._chain = builder, chain
        self._maps, self._choices, self._state = maps, choices, state
        self._rows = [cgutils.alloca_once(builder, _VECTOR) for _ in range(N_ROWS)]  # type: ignore[no-untyped-call]
        for row, register in enumerate(self._rows):
            builder.store(builder.load(state.row_address(_whole(chain * N_ROWS + row)), align=_ALIGNMENT), register)

    def _map(self, i: Any) -> list[Any]:
        """Return columns and translation of the map of point `i`."""
        b, chain = self._builder, _whole(self._chain)
        choice = b.load(self._choices.address(b.add(b.mul(chain, self._choices.length(1)), i)))
        row = b.mul(b.add(b.mul(chain, self._maps.length(1)), b.zext(choice, _INT)), _whole(LANES))
        return [b.load(self._maps.row_address(b.add(row, _whole(k))), align=_ALIGNMENT) for k in range(LANES)]

    def advance(self, i: Any, points: _Array | None) -> None:
        """Advance to point `i`; keep it, or add its square."""
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
            b.store(b.extract_element(point, ir.Constant(ir.IntType(32), axis)), points.address(element))

    def close(self) -> None:
        """Write the statistics back to memory."""
        for row, register in enumerate(self._rows):
            address = self._state.row_address(_whole(self._chain * N_ROWS + row))
            self._builder.store(self._builder.load(register), address, align=_ALIGNMENT)


@intrinsic
def _advance_on_lanes(typing_context, maps, choices, state, points):  # type: ignore[no-untyped-def]
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


@overload(advance)
def _compiled(maps, choices, state, points):  # type: ignore[no-untyped-def]
    return lambda maps, choices, state, points: _advance_on_lanes(maps, choices, state, points)  # type: ignore[call-arg]


@njit(cache=True)
def play(maps, choices, state, points):  # type: ignore[no-untyped-def]
    """Play four chaos games from the origin.

    Each point is the image of the one before.

    Parameters
    ----------
    maps : float64 (4, maps, 4, 4); axis 2 is three matrix columns and the translation; axis 3 is x, y, z, 0
    choices : uint8 (4, points), 0 .. maps - 1; the map that gives each point
    state : float64 (4, 5, 4), written; axis 1 is the last point, then the sum, the sum of squares, the lowest and the
        highest value of each coordinate; axis 2 is x, y, z, 0
    points : float64 (4, 3, points), written; axis 1 is x, y, z. None keeps no points; otherwise the squares stay 0.
    """
    state[:, :] = 0.0
    state[:, LOW], state[:, HIGH] = math.inf, -math.inf
    advance(maps, choices, state, points)  # type: ignore[no-untyped-call]
