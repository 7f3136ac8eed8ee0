# docker build -t avvp .                                     without CUDA, about 1.5 GB
# docker build -t avvp:cuda --build-arg TORCH=cu130 .        for NVIDIA GPUs, about 6 GB
# docker build -t avvp --build-arg EXTRAS=[serve,table] .    with extras
# docs/install.md shows how the image is used.

FROM python:3.13-slim-bookworm AS build
ARG TORCH=cpu
ARG EXTRAS=
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/avvp
COPY pyproject.toml README.md LICENSE MANIFEST.in /source/
COPY extractors /source/extractors
COPY models /source/models
COPY weights /source/weights
COPY pipeline /source/pipeline
RUN VIRTUAL_ENV=/opt/avvp uv pip install --torch-backend="$TORCH" "/source$EXTRAS" && /opt/avvp/bin/avvp --version

FROM python:3.13-slim-bookworm
ENV PATH=/opt/avvp/bin:$PATH AVVP_WEIGHTS_DIR=/weights PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 10001 avvp && install -d -o avvp -g avvp /weights /data
COPY --from=build /opt/avvp /opt/avvp
USER 10001
VOLUME ["/weights"]
WORKDIR /data
ENTRYPOINT ["avvp"]
CMD ["--help"]
