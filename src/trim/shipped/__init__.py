"""The models that ship with trim: weak, strong and step scorer (see MODEL_CARD.md).

`models/trim.yaml` is their configuration.
"""

from pathlib import Path

from trim.models.model import Sampling

FOLDER = Path(__file__).parent / "models"
BELIEF = FOLDER.parent / "belief.json"
"""POMDP model of the shipped models (`make figures`)."""
SAMPLING = Sampling(max_tokens=96)
"""The sampling of `models/trim.yaml`: the method's, with steps that fit the models' context."""
