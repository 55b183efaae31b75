"""Shared constants: the emotions, FER-2013's usages, the splits, and the size of a face image."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
USAGES = ("Training", "PublicTest", "PrivateTest")
SPLITS = ("train", "validation", "test")
GATE = "gate"  # the split of test images that only the gate of `emotion promote` looks at
UNUSED = "unused"  # the split of images that belong to none of them
IMAGE_SIZE = 48  # pixels per side of a face image
