"""Scenes of several sprites with exact masks of every concept: dense concept labels, and edits that can be rendered.

    world = scenes.World()                                          # 2 x 2 cells of 16 pixels, places of 4 x 4
    data = concept_sets.draw(scenes.generator(world), key, 1000)    # inputs [N, 32, 32, 1], concepts [N, 8, 8, 5]

A grid of cells; in each lies one sprite, or none, of any turn and size, and never beyond its cell: dSprites' square,
ellipse or heart (in closed form, from `data.dsprites`), or a cross, which is no concept and counts for nothing. It is
striped or plain, bright or dim. The label is how many sprites COUNT: squares that are striped, and hearts that are
bright. So the concepts decide the label, but only if one knows which of them are at the same place.

A mask says of every pixel whether the concept is there; of a place (a block of pixels, where a net's features are) it
is the share of its pixels. As the renderer is ours, a scene in which one sprite differs is exact too.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from interp_jax.core import checks, keys
from interp_jax.core.types import Array, ArrayLike, Key
from interp_jax.data import dsprites
from interp_jax.data.concept_sets import ConceptSet, Generator

CONCEPTS = ("square", "ellipse", "heart", "striped", "bright")
"""Of the masks, in order."""
CROSS, NOTHING = 3, 4
"""Kinds beyond the three shapes, which are numbered as concepts."""
EDITS = ("stripes", "shade", "shape", "removal")
"""What `changed` can do to a sprite."""
KINDS = (*EDITS, "insertion")
"""Of the changes that `pair` draws, in order."""
FREQUENT = (0.27, 0.18, 0.27, 0.18, 0.1)
"""How often a cell has each kind: squares and hearts, of which the label is made, more often than others."""
REACH = 13.7  # from a sprite's centre to its furthest point, in its own units: a square's corner
SIZES = (0.8, 0.95)  # of that reach to half a cell
TURN = 0.4  # radians, to either side
DIM, BETWEEN = 0.6, 0.45  # light of what is not bright, and of what lies between stripes
ARM = 3.2  # half the width of a cross' arms


class World(NamedTuple):
    """What all scenes share; static. cells: a side. pixels: a side of a cell. block: pixels a side of a place.

    noise: deviation of what is added to every pixel.
    """

    cells: int = 2
    pixels: int = 16
    block: int = 4
    noise: float = 0.05

    @property
    def side(self) -> int:
        """Pixels a side of the picture."""
        return self.cells * self.pixels

    @property
    def places(self) -> int:
        """Places a side of the masks."""
        return self.side // self.block

    @property
    def classes(self) -> int:
        """Labels: no sprite counts, to all of them."""
        return self.cells**2 + 1


class Scene(NamedTuple):
    """One scene of S cells, row by row. kind: `[S]` int32, three shapes, CROSS or NOTHING. striped, bright: `[S]` bool.

    size: `[S]`, of the reach to half a cell. turn: `[S]`, radians. offset: `[S, 2]`, rows and columns, in [-1, 1] of
    the room that the cell leaves. phase: `[S]` int32, of the stripes, in half widths.
    """

    kind: Array
    striped: Array
    bright: Array
    size: Array
    turn: Array
    offset: Array
    phase: Array


def check(world: World) -> World:
    """Give a world back.

    Raises:
        ValueError: cells too small for stripes and shapes, blocks that do not fill them, or negative noise.
    """
    checks.whole(1, cells=world.cells, block=world.block)
    checks.whole(8, pixels=world.pixels)
    checks.not_negative(noise=world.noise)
    if world.pixels % world.block:
        raise ValueError(f"want cells of whole blocks, got pixels={world.pixels}, block={world.block}")
    return world


def sample(key: Key, world: World) -> Scene:
    """Draw one scene; all that a sprite is made of is independent."""
    s = check(world).cells ** 2
    each = jax.random.split(key, 7)
    return Scene(
        jax.random.choice(each[0], len(FREQUENT), (s,), p=jnp.array(FREQUENT)).astype(jnp.int32),
        jax.random.bernoulli(each[1], 0.5, (s,)),
        jax.random.bernoulli(each[2], 0.5, (s,)),
        jax.random.uniform(each[3], (s,), minval=SIZES[0], maxval=SIZES[1]),
        jax.random.uniform(each[4], (s,), minval=-TURN, maxval=TURN),
        jax.random.uniform(each[5], (s, 2), minval=-1.0),
        jax.random.randint(each[6], (s,), 0, 4),
    )


def label(scene: Scene) -> Array:
    """Count the sprites that are striped squares or bright hearts, `[]` int32."""
    counts = ((scene.kind == 0) & scene.striped) | ((scene.kind == 2) & scene.bright)
    return counts.sum().astype(jnp.int32)


def inside(scene: Scene, world: World) -> Array:
    """Tell which pixels (their centres) lie in a sprite, `[side, side]` bool."""
    return _joined(jax.vmap(lambda one: _inside(one, world.pixels))(scene), world)


def render(scene: Scene, world: World, key: Key | None = None) -> Array:
    """Draw one scene, `[side, side, 1]`: light in [0, 1] on a dark ground, and noise where a key is given."""
    n, width = world.pixels, world.pixels // 6

    def light(one: Scene) -> Array:
        row = jnp.broadcast_to(jnp.arange(n)[:, None], (n, n))
        between = one.striped & ((row + one.phase * width // 2) // width % 2 == 1)
        return _inside(one, n) * jnp.where(one.bright, 1.0, DIM) * jnp.where(between, BETWEEN, 1.0)

    image = _joined(jax.vmap(light)(scene), world)[:, :, None]
    return image if key is None else image + world.noise * jax.random.normal(key, image.shape)


def masks(scene: Scene, world: World) -> Array:
    """Give the mask of every concept, `[side, side, 5]` float32 of 0 and 1."""
    shape = [scene.kind == i for i in range(CROSS)]
    there = jnp.stack([*shape, scene.striped, scene.bright], 1).astype(jnp.float32)
    n = world.pixels
    cells = jax.vmap(lambda has: jnp.broadcast_to(has, (n, n, len(CONCEPTS))))(there)
    return jnp.where(inside(scene, world)[:, :, None], _joined(cells, world), 0.0)


def placed(masks: Array, block: int) -> Array:
    """Give the share of each place's pixels that a mask `[H, W, k]` covers, `[H / block, W / block, k]`.

    >>> placed(jnp.eye(4)[:, :, None], 2)[:, :, 0].tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    chex.assert_rank(masks, 3)
    height, width, k = masks.shape
    if height % block or width % block:
        raise ValueError(f"want masks of whole blocks of {block}, got shape {masks.shape}")
    return masks.reshape(height // block, block, width // block, block, k).mean((1, 3))


def changed(scene: Scene, slot: ArrayLike, edit: ArrayLike, step: ArrayLike = 1) -> Scene:
    """Change the sprite in one cell: one of EDITS by its number, which may be traced.

    "stripes" and "shade" are turned over, "shape" is the kind `step` (1 to 3) further on among squares, ellipses,
    hearts and crosses, "removal" leaves nothing. An empty cell stays empty.

    Raises:
        ValueError: an edit or a cell that does not exist. (Traced, it changes nothing.)
    """
    count = scene.kind.shape[0]
    checks.entries(0, count - 1, slot=slot)
    checks.entries(0, len(EDITS) - 1, edit=edit)
    here = jnp.arange(count) == slot
    kind = jnp.select([edit == 2, edit == 3], [(scene.kind + step) % 4, jnp.full(count, NOTHING)], scene.kind)
    return scene._replace(
        kind=jnp.where(here & (scene.kind != NOTHING), kind, scene.kind).astype(jnp.int32),
        striped=scene.striped ^ (here & (jnp.asarray(edit) == 0)),
        bright=scene.bright ^ (here & (jnp.asarray(edit) == 1)),
    )


class Pair(NamedTuple):
    """A scene before and after a change of one sprite, under the same noise. kind: `[]` int32, which of KINDS."""

    before: ConceptSet
    after: ConceptSet
    kind: Array


def pair(key: Key, world: World) -> Pair:
    """Draw a scene and a change of one of its sprites, each of EDITS as likely; half of the removals are insertions."""
    scene = sample(keys.stream(key, "scene"), world)
    each = jax.random.split(keys.stream(key, "change"), 4)
    slot = jax.random.categorical(each[0], jnp.where(scene.kind == NOTHING, -jnp.inf, 0.0))
    edit = jax.random.randint(each[1], (), 0, len(EDITS))
    other = changed(scene, slot, edit, jax.random.randint(each[2], (), 1, 4))
    swap = (edit == EDITS.index("removal")) & jax.random.bernoulli(each[3])
    both = [example(one, world, keys.stream(key, "noise")) for one in (scene, other)]
    before, after = (jax.tree.map(lambda a, b, i=i: jnp.where(swap ^ (i == 1), b, a), *both) for i in (0, 1))
    return Pair(before, after, (edit + swap).astype(jnp.int32))


def example(scene: Scene, world: World, key: Key | None = None) -> ConceptSet:
    """Give a scene's picture, the masks of its concepts at places, and its label. key: of the noise."""
    return ConceptSet(render(scene, world, key), placed(masks(scene, world), world.block), label(scene))


def generator(world: World) -> Generator:
    """Make the generator of one scene, whose concepts are `[places, places, 5]`, for `concept_sets.draw`."""
    check(world)

    def one(key: Key) -> ConceptSet:
        return example(sample(keys.stream(key, "scene"), world), world, keys.stream(key, "noise"))

    return one


def _inside(one: Scene, n: int) -> Array:
    """Tell which pixels of its cell a sprite covers, `[n, n]` bool; one: a cell of a `Scene`."""
    room = (1 - one.size) * n / 2
    centre = n / 2 + room * one.offset
    along = jnp.arange(n, dtype=jnp.float32) + 0.5
    scale = one.size * n / 2 / REACH
    down, across = (along - centre[0]) / scale, (along - centre[1]) / scale
    cosine, sine = jnp.cos(one.turn), jnp.sin(one.turn)
    u = (cosine * across)[None, :] - (sine * down)[:, None]
    v = (sine * across)[None, :] + (cosine * down)[:, None]
    long, wide = jnp.maximum(jnp.abs(u), jnp.abs(v)), jnp.minimum(jnp.abs(u), jnp.abs(v))
    kinds = [dsprites.in_square(u, v), dsprites.in_ellipse(u, v), dsprites.in_heart(u, v)]
    kinds += [(long < dsprites.SQUARE) & (wide < ARM), jnp.zeros((n, n), bool)]
    return jnp.select([one.kind == i for i in range(len(kinds))], kinds, False)


def _joined(cells: Array, world: World) -> Array:
    """Lay cells `[S, n, n, ...]` out as one picture `[side, side, ...]`."""
    g, n = world.cells, world.pixels
    grid = cells.reshape(g, g, n, n, *cells.shape[3:])
    return jnp.moveaxis(grid, 2, 1).reshape(g * n, g * n, *cells.shape[3:])
