"""Fine-tune a pre-trained model: the trunk from a checkpoint, a new head for the classes of the data.

    # 47 % top-1 in a minute on 2 CPU cores, after `make dataset train-smoke`; from scratch it is as much
    python trainer/start.py --standalone --nproc-per-node 2 trainer/finetune.py \\
        --checkpoint runs/smoke-exfractal/last.pt --data data/quickstart-rcdb \\
        --config trainer/recipes/smoke.yaml --out runs/smoke-rcdb
    # 83.8 % top-1 from ViT-B/16 of ExFractalDB-21k (Kataoka et al., CVPR 2022; not run here)
    python trainer/start.py --standalone --nproc-per-node 8 trainer/finetune.py \\
        --checkpoint runs/ex21k/last.pt --data imagenet --val-split val --config trainer/recipes/finetune.yaml --out runs/in1k

The data is a directory of shards with _info.json, or one with a folder for each split and in it one for each class.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as pretrain.py does

import pretrain

if __name__ == "__main__":
    pretrain.run(__doc__, fine_tunes=True)
