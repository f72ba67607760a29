import jax.numpy as jnp
import pytest

from interp_jax.models import vae
from interp_jax.report import figures, looks


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_is_shown_with_the_latents_that_say_most_first(channels, key):
    net = vae.mlp((8, 8, channels), hidden=(4,), latents=3)
    params = net.init(key)
    code = jnp.array([0.0, 5.0, 1.0]), jnp.zeros(3)  # latent 1 is farthest from the prior, then latent 2
    shown = looks.look(
        net._replace(encode=lambda params, x: code), params, jnp.ones((2, 8, 8, channels)), "the one at hand"
    )
    assert [picture.name for picture in shown] == ["reconstructions", "traversals"]
    assert all("the one at hand" in picture.caption for picture in shown)
    labels = [label.get_text() for label in shown[1].image.axes[0].get_yticklabels()]
    assert labels == ["z1", "z2", "z0"]
    assert figures.png(shown[0].image) != figures.png(shown[1].image)
