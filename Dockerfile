# syntax: plain Dockerfile; built with buildah and docker alike.
#
#   docker build -t sigtrace:0.1.0 .
#   buildah build --timestamp 0 -t sigtrace:0.1.0 .                     the same image, byte for byte, from the same base
#
# Offline: put the wheels into deploy/image/wheels (deploy/image/fetch) and give bases that have the packages of
# deploy/image/packages.txt already, for instance from debootstrap:
#   buildah build --build-arg BUILD_BASE=my-debian-clang --build-arg BASE=my-debian-python .
#
# Python packages are those of deploy/image/requirements.txt, by hash. Debian's are signed by Debian; which ones went in,
# with version and SHA-256 of each, is written to /usr/share/sigtrace/packages.txt.
ARG BASE=debian:bookworm-slim
ARG BUILD_BASE=${BASE}

# ---- compiles the BPF object and makes the virtual environment; nothing of it but /opt/sigtrace stays
FROM ${BUILD_BASE} AS build
COPY deploy/image/ /build/image/
RUN /build/image/install-debian build
COPY LICENSE README.md MANIFEST.in Makefile pyproject.toml setup.py constraints.txt /build/source/
COPY bpf/ /build/source/bpf/
COPY sigtrace/ /build/source/sigtrace/
RUN /build/image/install-python /build/source /opt/sigtrace

# ---- Python, libbpf, sigtrace
FROM ${BASE}
COPY deploy/image/ /tmp/image/
RUN /tmp/image/install-debian run && rm -rf /tmp/image
COPY --from=build /opt/sigtrace/ /opt/sigtrace/
COPY --from=build /usr/share/sigtrace/ /usr/share/sigtrace/
RUN cat /usr/share/sigtrace/debian.txt /usr/share/sigtrace/python.txt >/usr/share/sigtrace/packages.txt
ENV PATH=/opt/sigtrace/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Exec form: sigtrace hears its stop signal itself, also as PID 1.
ENTRYPOINT ["/opt/sigtrace/bin/sigtrace"]
CMD ["agent"]
