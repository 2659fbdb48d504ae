"""Fine-tune a pre-trained model with a new head.

    # after `make dataset train-smoke`, one minute on 2 cores
    torchrun --standalone --nproc-per-node 2 -m trainer.finetune --checkpoint runs/smoke-exfractal/last.pt \\
        --data data/quickstart-rcdb --config smoke --out runs/smoke-rcdb
    # ImageNet-1k; published: 83.8 % top-1 for ViT-B from ExFractalDB-21k (arXiv 2206.09132), not run here
    torchrun --standalone --nproc-per-node 8 -m trainer.finetune --checkpoint runs/ex21k/last.pt --data imagenet \\
        --val-split val --config finetune --out runs/in1k

The data is a directory of shards with _info.json, or one with a folder per split and in it a folder per class.
"""

from trainer.pretrain import main
from trainer.recipe import FinetuneOptions

if __name__ == "__main__":
    main(FinetuneOptions, "finetune", __doc__)
