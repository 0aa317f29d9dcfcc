"""A small world of films, made from a seed: drawn objects that move and sound, and what misleads.

`scenes` says what happens when, `pictures` how it looks, `sounds` how it sounds, `films` writes the
files. It is a real task from pixels and sound on, at a size for two processors; the embedded
benchmark of features is `loco.data.synthetic`.
"""
