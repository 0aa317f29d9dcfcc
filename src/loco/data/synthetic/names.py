"""What the classes of the synthetic benchmark are called: after events of UnAV-100.

The classes stand on a ring whose neighbours are alike in one modality, sound and sight in turn (see
`loco.data.synthetic.rendering.World`); the names say so too. With 10 classes the ring closes: a
singing child looks like a crying baby.
"""

from __future__ import annotations

NAMES = (
    "baby crying",  # sounds like
    "cat meowing",  # looks like
    "dog howling",  # sounds like
    "fire truck siren",  # looks like, a large vehicle
    "driving buses",  # sounds like, an engine
    "lawn mowing",  # looks like, somebody pushes a machine
    "vacuum cleaner cleaning floors",  # sounds like
    "hair dryer drying",  # looks like, something held to the head
    "female singing",  # sounds like
    "child singing",  # looks like, a small child
    "baby laughter",  # and so on
    "people laughing",
    "people coughing",
    "dog barking",
    "lions roaring",
    "bull bellowing",
    "horse clip-clop",
    "tap dancing",
    "rope skipping",
    "basketball bounce",
)


def class_names(num_classes: int) -> list[str]:
    """K names; beyond those there are, numbers."""
    named = NAMES[:num_classes]
    return [*named, *(f"class {label}" for label in range(len(named), num_classes))]
