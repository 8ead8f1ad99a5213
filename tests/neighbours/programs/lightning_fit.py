"""PyTorch Lightning trains a tiny model on the CPU, for ever or (``STEPS``) for so many steps.

``ARM`` may also be ``imported``: between Lightning's import and the fit.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from pathlib import Path

from _neighbour import arm, note, note_signal, ready

if __name__ == "__main__":
    if os.environ.get("OOBDUMP_ARM") and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as `oobdump run` leaves it to a program
    arm("first")
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.demos.boring_classes import BoringModel

    arm("imported")
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    class Model(BoringModel):
        """One that announces when its first step is done."""

        def on_train_batch_end(self, outputs: object, batch: torch.Tensor, batch_idx: int) -> None:
            """In the midst of the training."""
            if self.global_step == 1:
                arm("last")
                ready()
            time.sleep(0.01)

    steps = int(os.environ.get("STEPS", "-1"))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=steps,
        default_root_dir=str(Path(os.environ["NOTES"]).parent / "lightning"),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(Model())
    note("fit ended", trainer.global_step, signal.getsignal(signal.SIGUSR1) is note_signal)
    time.sleep(600)
