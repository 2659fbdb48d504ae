"""Whether the datasets are the published ones.

`fractals` and `contours` transcribe the published descriptions, slowly and without our kernels. `pictures` compares their
images with ours, `distributions` compares our random numbers with the published laws.

    python -m tests.fidelity      # many samples, prints tables and writes docs/fidelity.md; `make fidelity` runs this
"""
