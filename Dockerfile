# syntax=docker/dockerfile:1
# The program with its page and FFmpeg, as an unprivileged user. For amd64 and arm64: every stage is built on the platform
# that it is for.
#
#   docker build -t camera-operator .
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD/examples:/etc/camera-operator:ro" -v cameras:/var/lib/camera-operator \
#     camera-operator run -f /etc/camera-operator/quickstart.yaml --listen 0.0.0.0:8080
#
# To make an image of a program that was built elsewhere: --build-context build=<folder with camera-operator>
# (scripts/image.sh does so for the tests).
ARG DEBIAN=bookworm
ARG RUST=1.95.0
ARG NODE=22

FROM docker.io/library/node:${NODE}-${DEBIAN}-slim AS page
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM docker.io/library/rust:${RUST}-slim-${DEBIAN} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
# The compiler of this image, without the other tools that rust-toolchain.toml asks for.
ARG RUST
ENV RUSTUP_TOOLCHAIN=${RUST}
WORKDIR /src
COPY . .
COPY --from=page /src/web/dist web/dist
# What was downloaded and compiled is kept from build to build, for each platform by itself (two that are built at once must not
# write over each other); the program leaves the cache.
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-${TARGETARCH},target=/src/target \
    cargo build --release --locked && cp target/release/camera-operator /camera-operator

# FFmpeg with the libraries it is linked to; certificates, time zones, and the font that draws the clock into test pictures;
# and the first process, which passes signals on and reaps what is left to it.
FROM docker.io/library/debian:${DEBIAN}-slim AS files
COPY packaging/collect.sh /collect.sh
RUN dpkg-query -W -f '${Package} ${Version}\n' >/before \
    && apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates ffmpeg fonts-dejavu-core tini tzdata \
    && sh /collect.sh /files /before ffmpeg ca-certificates fontconfig-config fonts-dejavu-core tini tzdata \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /files/etc/ssl/certs/ca-certificates.crt \
    && cp -r /etc/fonts /files/etc/ \
    && install -d -o 10001 -g 10001 /files/var/lib/camera-operator \
    && rm -rf /var/lib/apt/lists/*

FROM docker.io/library/debian:${DEBIAN}-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="camera-operator" \
    org.opencontainers.image.description="Camera streams, recordings and their retention as Kubernetes resources" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=files /files/ /
RUN echo 'camera-operator:x:10001:10001::/var/lib/camera-operator:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'camera-operator:x:10001:' >>/etc/group
COPY --from=build /camera-operator /usr/local/bin/camera-operator
# By number, so that a cluster can see that it is not root.
USER 10001:10001
ENV CAMERA_OPERATOR_DATA=/var/lib/camera-operator
WORKDIR /var/lib/camera-operator
EXPOSE 8080 9090
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/camera-operator"]
CMD ["--help"]
