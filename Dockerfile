# The suite on a CPU. `docker build -t loco .` makes the image, `docker run --rm loco` runs the demo:
# it makes the data, trains LoCo on it, tests it and shows the table. This file was never built where
# it was written, as no docker was at hand; a test runs its RUN lines in a fresh folder.
FROM python:3.11

# an index with PyTorch's CPU wheels makes the image gigabytes smaller:
# docker build --build-arg PIP_EXTRA_INDEX_URL=… -t loco .
ARG PIP_EXTRA_INDEX_URL

WORKDIR /loco
COPY . .
RUN make install
RUN .venv/bin/loco --version
CMD ["make", "demo"]
