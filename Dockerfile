# dit-run for a CPU, or for NVIDIA cards with another index of torch:
#   docker build -t dit-run --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
FROM python:3.13-slim

# A compiler for torch.compile.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /dit-run/
RUN sed -i 's/^torch==\([0-9.]*\).*/torch==\1/' /dit-run/constraints.txt && \
    pip install --no-cache-dir -c /dit-run/constraints.txt --extra-index-url "$TORCH_INDEX" torch

COPY pyproject.toml README.md LICENSE /dit-run/
COPY framework /dit-run/framework
COPY plugins /dit-run/plugins
COPY configs /dit-run/configs
COPY schemas /dit-run/schemas
COPY docs/codes.md /dit-run/docs/codes.md
RUN pip install --no-cache-dir -c /dit-run/constraints.txt '/dit-run[view,lora,parquet,remote]'

# Any user may run it; the work folder is mounted.
WORKDIR /work
ENTRYPOINT ["dit-run"]
CMD ["--help"]
