"""What the classes of the synthetic benchmark are called: after the 100 events of UnAV-100.

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
    # so far the default worlds; from here on the ring is as near as the names allow
    "playing volleyball",
    "playing badminton",
    "playing tennis",
    "playing table tennis",
    "striking bowling",
    "skateboarding",
    "people running",
    "people crowd",
    "people cheering",
    "people clapping",
    "people slapping",
    "hammering nails",
    "fireworks banging",
    "machine gun shooting",
    "people battle cry",
    "people shouting",
    "people sobbing",
    "people sneezing",
    "people nose blowing",
    "people burping",
    "people eating",
    "people slurping",
    "people whistling",
    "bird chirping",
    "frog croaking",
    "water burbling",
    "raining",
    "sea waves",
    "sailing",
    "wind noise",
    "airplane flyby",
    "thunder",
    "helicopter",
    "chainsawing trees",
    "driving motorcycle",
    "engine knocking",
    "auto racing",
    "car passing by",
    "skidding",
    "train wheels squealing",
    "train horning",
    "vehicle honking",
    "police car siren",
    "ambulance siren",
    "church bell ringing",
    "telephone bell ringing",
    "typing on computer keyboard",
    "playing synthesizer",
    "playing electronic organ",
    "playing piano",
    "playing harp",
    "playing zither",
    "playing banjo",
    "playing ukulele",
    "playing acoustic guitar",
    "playing base guitar",
    "playing cello",
    "playing violin",
    "playing erhu",
    "playing flute",
    "playing clarinet",
    "playing saxophone",
    "playing trumpet",
    "playing cornet",
    "playing trombone",
    "playing accordion",
    "playing harmonica",
    "beat boxing",
    "playing drum kit",
    "playing snare drum",
    "playing tabla",
    "orchestra",
    "singing choir",
    "male singing",
    "man speaking",
    "woman speaking",
    "people whispering",
    "kid speaking",
    "baby babbling",
    "sheep bleating",
)


def class_names(num_classes: int) -> list[str]:
    """K names; beyond those there are, numbers."""
    named = NAMES[:num_classes]
    return [*named, *(f"class {label}" for label in range(len(named), num_classes))]
