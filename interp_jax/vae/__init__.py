"""Variational autoencoders: objectives, disentanglement metrics, latent traversals."""
