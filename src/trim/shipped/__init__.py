"""The models that ship with trim: weak, strong and step scorer (see MODEL_CARD.md)."""
