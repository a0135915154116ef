"""The cache: what frozen encoders make, kept by the content it was made from.

A *record* is the latents of one picture (mean and, where there is a posterior, standard deviation) or the states of
one caption (real tokens, and the pooled vector). Its key is the digest of the picture's file or of the caption's text.
Records that only the same encoder with the same settings can make lie together in a *space*, a folder named by the
digest of those settings; a space is made of *shards*, safetensors files that are written once.

Nothing is ever stale: what changes a record changes its key or its space. Nothing is trusted: each record is checked
at its first read in a process. The rest of the project uses three things::

    cached = open_cache(config, [train, validation], text=..., vae=..., dtype=..., reporter=..., stopped=...)
    cached.latents.gather(found)         # mean and deviation of each; no cache where nothing is kept
    cached.captions(captions, null)      # states of captions, padded: implements Conditions
    encode_latents(vae, images, dtype), encode_captions(encoder, captions, dtype)     # the same numbers, made now

``latents`` and ``captions`` are picklable: each process maps the shards for itself.
"""
