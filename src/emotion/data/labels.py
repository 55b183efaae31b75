"""What every part agrees on: the emotions, FER-2013's usages, the splits, and a face's size."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
USAGES = ("Training", "PublicTest", "PrivateTest")
SPLITS = ("train", "validation", "test")
SIZE = 48  # pixels a side of a face
