"""Where each parameter meets the input: the reading of a model's jaxpr that structured derivatives stand on.

Most parameters enter a model in a product with what the layers before made of the input: `y = h W`. Then the Jacobian
of the outputs with respect to W is made of two small parts, the cotangent g of y and h itself, and its Gram matrix
needs neither to be multiplied out (Novak et al. 2022, section 3.3). `read` finds those products; `replay` evaluates the
model once more with a zero added to each y, whose cotangent is g, and hands out h.

Only public parts of JAX are used: the jaxpr of `jax.make_jaxpr`, and `bind`. No transposition rule is written here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

from interp_jax.core import checks
from interp_jax.core.types import Array
from interp_jax.ntk import products, views
from interp_jax.ntk.products import Label, Path, Site
from interp_jax.ntk.views import View

NOTHING: frozenset[int] = frozenset()
INLINED = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}
SAME = {"convert_element_type", "copy", "copy_p", "reduce_precision"}


@dataclasses.dataclass(frozen=True)
class Use:
    """A `Site` with the scans around it, whose turns lead every axis list.

    view: of the parameter. g, h: labels of the axes of y's cotangent, reshaped to `sizes`, and of h. y: shape and dtype
    of y. h_shape: of h. lookup: the label along which h, an array of integers, picks rows.
    """

    path: Path
    view: View
    g: tuple[Label, ...]
    h: tuple[Label, ...]
    sizes: tuple[int, ...]
    y: jax.ShapeDtypeStruct
    h_shape: tuple[int, ...]
    lookup: Label | None = None


class Structure(NamedTuple):
    """What `read` found. uses: leaf -> its products. reasons: leaf -> what it met that is no product.

    A leaf with a reason has to be differentiated as it is; a leaf in neither has no part in the output.
    """

    jaxpr: ClosedJaxpr
    uses: dict[int, list[Use]]
    reasons: dict[int, str]
    output: jax.ShapeDtypeStruct


class Tagged(NamedTuple):
    """A value on the way. leaves: the parameters that alone made it, None if the input had a part. view: if simple."""

    value: Any
    leaves: frozenset[int] | None = None
    view: View | None = None


def read(jaxpr: ClosedJaxpr, leaves: int) -> Structure:
    """Find the products of each of the first `leaves` arguments; the others are the input."""
    walk = Walk()
    found: list[Tagged] = []

    def run(args: Sequence[Array]) -> list[Array]:
        found[:] = walk.run(jaxpr, tag(args, leaves), ())
        return [tagged.value for tagged in found]

    outputs = jax.eval_shape(run, [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.jaxpr.invars])
    for tagged in found:
        walk.give_up(tagged, "output")
    uses: dict[int, list[Use]] = {}
    for use in walk.uses.values():
        uses.setdefault(use.view.leaf, []).append(use)
    for leaf, several in uses.items():
        pairs = [(a.view, b.view) for a in several for b in several]
        if any(views.mixed(a) or not (views.alike(a, b) or views.apart(a, b)) for a, b in pairs):
            walk.give_up(Tagged(None, frozenset([leaf])), "rearranged in ways that do not match")
    return Structure(jaxpr, {i: uses[i] for i in uses if i not in walk.reasons}, walk.reasons, outputs[0])


def taps(structure: Structure) -> dict[Path, Array]:
    """Give a zero for every product."""
    return {use.path: jnp.zeros(use.y.shape, use.y.dtype) for uses in structure.uses.values() for use in uses}


def replay(
    structure: Structure, args: Sequence[Array], taps: Mapping[Path, Array], leaves: int
) -> tuple[Array, dict[Path, Array]]:
    """Evaluate the model with `taps[path]` added to the product at each path; give its output, and h at each path."""
    walk = Walk(taps)
    (output,) = walk.run(structure.jaxpr, tag(args, leaves), ())
    return output.value, walk.hs


def tag(args: Sequence[Array], leaves: int) -> list[Tagged]:
    """Mark the parameters among the arguments; integers are constants."""

    def one(i: int, value: Array) -> Tagged:
        if i >= leaves:
            return Tagged(value)
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return Tagged(value, NOTHING)
        return Tagged(value, frozenset([i]), views.whole(i, value.shape))

    return [one(i, value) for i, value in enumerate(args)]


class Walk:
    """Evaluates a jaxpr with tagged values. Without taps it notes uses; with taps it adds them and keeps every h."""

    def __init__(self, taps: Mapping[Path, Array] | None = None, lengths: tuple[int, ...] = ()) -> None:
        self.taps = taps
        self.lengths = lengths
        self.uses: dict[Path, Use] = {}
        self.reasons: dict[int, str] = {}
        self.hs: dict[Path, Array] = {}

    def run(self, jaxpr: ClosedJaxpr, args: Sequence[Tagged], path: Path) -> list[Tagged]:
        """Evaluate equation by equation."""
        known: dict[Any, Tagged] = {}
        known.update(zip(jaxpr.jaxpr.constvars, [Tagged(value, NOTHING) for value in jaxpr.consts], strict=True))
        known.update(zip(jaxpr.jaxpr.invars, args, strict=True))

        def look(atom: Any) -> Tagged:
            return Tagged(atom.val, NOTHING) if isinstance(atom, Literal) else known[atom]

        for number, eqn in enumerate(jaxpr.jaxpr.eqns):
            outputs = self.step(eqn, [look(atom) for atom in eqn.invars], (*path, number))
            known.update(zip(eqn.outvars, outputs, strict=True))
        return [look(atom) for atom in jaxpr.jaxpr.outvars]

    def step(self, eqn: Any, args: list[Tagged], path: Path) -> list[Tagged]:
        """Evaluate one equation."""
        name = eqn.primitive.name
        if name in INLINED:
            return self.run(inner(eqn.params), args, path)
        if name == "scan" and any(arg.leaves for arg in args):
            return self.scan(eqn, args, path)
        if name == "cond" and eqn.params.get("branches_platforms"):
            branch = eqn.params["branches"][_branch(eqn.params["branches_platforms"])]
            return self.run(close(branch), args[1:], path)
        values = [arg.value for arg in args]
        site = self.product(eqn, args, path)
        if site is not None:
            return [Tagged(self.tap(site, bind(eqn, values)[0]))]
        outputs = bind(eqn, values)
        if name == "stop_gradient":
            return [Tagged(outputs[0], args[0].leaves and NOTHING)]
        if any(arg.leaves is None for arg in args):
            for arg in args:
                self.give_up(arg, name)
            return [Tagged(value) for value in outputs]
        leaves = NOTHING.union(*(arg.leaves or NOTHING for arg in args))
        return [Tagged(value, leaves, _rearrange(eqn, args)) for value in outputs]

    def give_up(self, tagged: Tagged, reason: str) -> None:
        """Note that parameters met the input in a way that is no product."""
        for leaf in tagged.leaves or ():
            self.reasons.setdefault(leaf, reason)

    def product(self, eqn: Any, args: list[Tagged], path: Path) -> Site | None:
        """Write an equation as a product of one view with what no parameter alone made, if it is that."""
        seen = [i for i, arg in enumerate(args) if arg.view is not None]
        if len(seen) != 1 or any(arg.leaves for i, arg in enumerate(args) if i != seen[0]):
            return None
        view = args[seen[0]].view
        assert view is not None
        return products.find(eqn, [arg.value for arg in args], view, seen[0], path)

    def tap(self, site: Site, y: Array) -> Array:
        """Note a product, or add its tap and keep its h."""
        if self.taps is None:
            lead = tuple(axis or (site.path, "turn", i) for i, axis in enumerate(site.view.lead))
            self.uses[site.path] = Use(
                path=site.path, view=site.view, g=(*lead, *site.y), h=(*lead, *site.h), lookup=site.lookup,
                sizes=(*self.lengths, *site.sizes), h_shape=(*self.lengths, *site.make().shape),
                y=jax.ShapeDtypeStruct((*self.lengths, *y.shape), y.dtype),
            )  # fmt: skip
        elif site.path in self.taps:
            self.hs[site.path] = site.make()
            return y + self.taps[site.path]
        return y

    def scan(self, eqn: Any, args: list[Tagged], path: Path) -> list[Tagged]:
        """Evaluate a scan, with a tap for each turn inside."""
        constants, carries = _scan_parts(eqn.params)
        consts, carry, xs = args[:constants], args[constants : constants + carries], args[constants + carries :]
        mine = None if self.taps is None else {at: tap for at, tap in self.taps.items() if at[: len(path)] == path}
        walk = Walk(mine, (*self.lengths, eqn.params["length"]))

        def turn(state: list[Array], slices: tuple) -> tuple:
            walk.taps = slices[1]
            args = [_enter(tagged, tagged.value, along=False) for tagged in consts]
            args += [Tagged(value) for value in state]
            args += [_enter(tagged, value, along=True) for tagged, value in zip(xs, slices[0], strict=True)]
            outputs = walk.run(inner(eqn.params), args, path)
            for tagged in outputs:
                walk.give_up(tagged, "scan")
            values = [tagged.value for tagged in outputs]
            return values[:carries], (values[carries:], dict(walk.hs))

        over = [tagged.value for tagged in xs], mine
        options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
        end, (ys, hs) = lax.scan(turn, [tagged.value for tagged in carry], over, **options)
        for arg in carry:
            self.give_up(arg, "scan")
        self.uses |= walk.uses
        self.hs |= hs
        self.reasons = walk.reasons | self.reasons
        return [Tagged(value) for value in (*end, *ys)]


def bind(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluate one equation as it is."""
    found = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(found) if eqn.primitive.multiple_results else [found]


def inner(params: Mapping[str, Any]) -> ClosedJaxpr:
    """Give the jaxpr that an equation calls."""
    return close(params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"])


def close(jaxpr: Any) -> ClosedJaxpr:
    """Give a jaxpr its constants: none, where they are arguments already."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def _enter(tagged: Tagged, value: Array, *, along: bool) -> Tagged:
    view = None if tagged.view is None else views.enter(tagged.view, along=along)
    return Tagged(value, tagged.leaves, view)


def _branch(platforms: Sequence[Sequence[str] | None]) -> int:
    """Give the branch for the backend that the program runs on."""
    names = {"gpu": {"gpu", "cuda", "rocm"}}.get(jax.default_backend(), {jax.default_backend()})
    for i, several in enumerate(platforms):
        if several is None or names & set(several):
            return i
    raise ValueError(f"want a branch for {jax.default_backend()}, got branches for {platforms}")


def _scan_parts(params: Mapping[str, Any]) -> tuple[int, int]:
    """Count the constants and the carries of a scan (jax 0.12 keeps them as a tree)."""
    if "ft_in" in params:
        constants, carry, _ = params["ft_in"].unpack()
        return len(constants), len(carry)
    return params["num_consts"], params["num_carry"]


def _rearrange(eqn: Any, args: list[Tagged]) -> View | None:
    """Follow the one view among the arguments through an equation; None if what comes out is no view."""
    seen = [arg for arg in args if arg.view is not None]
    if len(seen) != 1 or any(arg.leaves for arg in args if arg.view is None):
        return None
    view, params, name = seen[0].view, eqn.params, eqn.primitive.name
    assert view is not None
    if name in SAME:
        return view if jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating) else None
    if name == "transpose":
        return views.transpose(view, params["permutation"])
    if name == "squeeze" or (name == "reshape" and params["dimensions"] is None):
        return views.reshape(view, eqn.outvars[0].aval.shape)
    if name == "broadcast_in_dim":
        return views.broadcast(view, params["shape"], params["broadcast_dimensions"])
    if name == "slice":
        steps = params["strides"] or (1,) * len(view.axes)
        return views.cut(view, params["start_indices"], params["limit_indices"], steps)
    if name == "neg":
        return view._replace(scale=-view.scale)
    if name == "mul" or (name == "div" and args[0].view is not None):
        other = args[1] if args[0].view is not None else args[0]
        number = checks.concrete(other.value)
        if number is None or number.ndim > 0:
            return None
        return view._replace(scale=view.scale * float(number) if name == "mul" else view.scale / float(number))
    return None
