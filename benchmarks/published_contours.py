"""The published procedure for RCDB, one image, as a script.

The authors' generator is a script too. Names at the top level of a module are looked up in a dictionary at each use, which is
slower than in a function. It loops over contours and vertices, calls a C extension for the noise on each axis of each vertex,
and draws one PIL line per edge.

`published.py` runs it with `given`: the variant, the size in px, a random.Random, and the list of images. The script appends
its image to the list: the authors' code keeps all images of a category in memory.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
"""

import math

import noise
from PIL import Image, ImageDraw

variant, size_px, rng, images = globals()["given"]
n, perlin, gap = variant.vertices, variant.perlin, variant.gap
angle = 2.0 * math.pi / n
xs, ys, noises_x, noises_y = [], [], [], []
images.append(Image.new("RGB", (size_px, size_px), (255, 255, 255)))
draw = ImageDraw.Draw(images[-1])
for v in range(n):
    xs.append(math.cos(angle * v) * variant.radius * variant.aspect_x)
    ys.append(math.sin(angle * v) * variant.radius * variant.aspect_y)
xs.append(xs[0])
ys.append(ys[0])
centre_x, centre_y = variant.centre_x, variant.centre_y
for _ in range(variant.contours):
    grey = min(rng.randint(0, 256), 255)
    noises_x.clear()
    noises_y.clear()
    for v in range(n):
        noises_x.append(rng.uniform(0, 10000))
        noises_x[v] = noise.pnoise1(noises_x[v]) * perlin * 2 - perlin
    for v in range(n):
        noises_y.append(rng.uniform(0, 10000))
        noises_y[v] = noise.pnoise1(noises_y[v]) * perlin * 2 - perlin
    for v in range(n):
        xs[v] -= math.cos(angle * v) * (noises_x[v] - gap)
        ys[v] -= math.sin(angle * v) * (noises_y[v] - gap)
    xs[n], ys[n] = xs[0], ys[0]
    for v in range(n):
        edge = (xs[v] + centre_x, ys[v] + centre_y, xs[v + 1] + centre_x, ys[v + 1] + centre_y)
        draw.line(edge, fill=(grey, grey, grey), width=1)
