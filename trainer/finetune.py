"""Fine-tune a pre-trained model: the trunk from a checkpoint, a new head for the classes of the data.

    torchrun --standalone --nproc-per-node 8 trainer/finetune.py --checkpoint runs/ex1k/last.pt --data imagenet \\
        --val-split val --config trainer/recipes/finetune.yaml --out runs/in1k

The data is a directory of shards with _info.json, or one with a folder for each split and in it one for each class.
"""

from __future__ import annotations

import pretrain

if __name__ == "__main__":
    pretrain.run(__doc__, fine_tunes=True)
