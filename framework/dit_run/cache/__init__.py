"""The cache of outputs of frozen encoders, keyed by content.

A *record* is the latents of one image (mean and, if the VAE has a posterior, standard deviation) or the states of one
caption (real tokens and the pooled vector). Its key is the digest of the image file or of the caption text. A *space*
is a folder of records made by one encoder with one set of settings, and is named by the digest of these settings. A
space consists of *shards*, safetensors files that are written once.

Nothing is stale: whatever changes a record changes its key or its space, the code of an encoder's plugin included.
Nothing is trusted: each record is verified at its first read in a process. The rest of the project uses three things::

    cached = open_cache(config, [train, validation], text=..., vae=..., dtype=..., reporter=..., stopped=...)
    cached.latents.gather(found)         # mean and deviation of each; None if latents are not cached
    cached.captions(captions, null)      # padded states of captions: implements Conditions
    encode_latents(vae, images, dtype), encode_captions(encoder, captions, dtype)     # the same numbers, encoded now

``latents`` and ``captions`` are picklable: each process maps the shards itself.
"""
