"""One image of RCDB by the steps of the published generator.

A script, as theirs is: what stands at the level of a module looks each name up in a dictionary, at each use, which a function
does not. `published.contours_image` runs it with `given`: the contours, the size in px, random.Random, and the list of the
images before, to which this one is added.
"""

import math

import noise
from PIL import Image, ImageDraw

contours, size_px, rng, images = globals()["given"]
n, perlin, gap = contours.vertices, contours.perlin, contours.gap
angle = 2.0 * math.pi / n
xs, ys, noises_x, noises_y = [], [], [], []
images.append(Image.new("RGB", (size_px, size_px), (255, 255, 255)))
draw = ImageDraw.Draw(images[-1])
for v in range(n):
    xs.append(math.cos(angle * v) * contours.radius * contours.aspect_x)
    ys.append(math.sin(angle * v) * contours.radius * contours.aspect_y)
xs.append(xs[0])
ys.append(ys[0])
centre_x, centre_y = contours.centre_x, contours.centre_y
for _ in range(contours.contours):
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
