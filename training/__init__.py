"""Training of the shipped models, outside the wheel. Run it from the repository's root.

    make train                        # or: python -m training
    python -m training.train strong   # one generator
    python -m training.train_scorer
    python -m training.measure --models build/models

Training needs the packages of `.venv/train` in the Makefile (torch, tokenizers, gguf);
`training.measure` needs trim alone. The model card (src/trim/shipped/MODEL_CARD.md) describes
data, settings and results.
"""
