# syntax=docker/dockerfile:1
# The program with its page and FFmpeg, as an unprivileged user. For amd64 and arm64: every stage is built on the platform
# that it is for.
#
#   docker build -t camera-operator .
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD/examples:/etc/camera-operator:ro" -v cameras:/var/lib/camera-operator \
#     camera-operator run -f /etc/camera-operator/quickstart.yaml --data /var/lib/camera-operator --listen 0.0.0.0:8080
ARG DEBIAN=bookworm
ARG RUST=1.95.0
ARG NODE=22

FROM docker.io/library/node:${NODE}-${DEBIAN}-slim AS page
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM docker.io/library/rust:${RUST}-slim-${DEBIAN} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=page /src/web/dist web/dist
RUN cargo build --release --locked

# To make an image of a program that was built elsewhere: --build-context build=<folder with src/target/release/camera-operator>.
FROM docker.io/library/debian:${DEBIAN}-slim
# The font draws the clock into test pictures.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates ffmpeg fonts-dejavu-core tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --home-dir /var/lib/camera-operator --shell /usr/sbin/nologin camera-operator \
    && install -d -o 65532 -g 65532 /var/lib/camera-operator
COPY --from=build /src/target/release/camera-operator /usr/local/bin/camera-operator
USER 65532:65532
ENV CAMERA_OPERATOR_DATA=/var/lib/camera-operator
VOLUME /var/lib/camera-operator
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/camera-operator"]
CMD ["--help"]
