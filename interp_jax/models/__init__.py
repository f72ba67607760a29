"""Networks in flax.linen behind `apply`, and convolutions that lower well everywhere."""
