# docker build --tag fdsl .
# docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD/data:/data" fdsl bake quickstart-rcdb -o rcdb
FROM python:3.13-slim AS build
COPY . /source
RUN python -m venv /opt/fdsl && /opt/fdsl/bin/pip install --no-cache-dir "/source[s3]"

FROM python:3.13-slim
COPY --from=build /opt/fdsl /opt/fdsl
# Compiled kernels and searched categories: folders that any user of the container can make.
ENV PATH=/opt/fdsl/bin:$PATH NUMBA_CACHE_DIR=/tmp/numba XDG_CACHE_HOME=/tmp/cache
RUN useradd --create-home --uid 1000 fdsl && install --directory --owner=1000 /data
USER 1000
WORKDIR /data
ENTRYPOINT ["fdsl"]
CMD ["-h"]
