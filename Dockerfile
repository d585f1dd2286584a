# PostgreSQL with site_stats, on the official image of PostgreSQL:
#
#     docker build -t postgres-site_stats --build-arg PG=17 .
#     docker run -e POSTGRES_PASSWORD=... -e POSTGRES_DB=mysite postgres-site_stats
#     psql -h ... -U postgres -d mysite -c 'CREATE EXTENSION site_stats'
#
# The library is preloaded, so the launcher runs (docs/operators.md).

ARG PG=17
FROM postgres:${PG}-bookworm AS build
ARG PG
RUN apt-get update && apt-get install -y --no-install-recommends \
        build-essential ca-certificates clang curl libclang-dev libipc-run-perl pkg-config "postgresql-server-dev-${PG}" \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /site_stats
# What takes long, and changes seldom, first. The compiler is that of rust-toolchain.toml.
COPY rust-toolchain.toml ./
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none \
    && rustup toolchain install
COPY Makefile ./
COPY bin bin
COPY .cargo .cargo
RUN PG_CONFIG="/usr/lib/postgresql/${PG}/bin/pg_config" bin/setup tools
COPY . .
RUN PG_CONFIG="/usr/lib/postgresql/${PG}/bin/pg_config" bin/build

FROM postgres:${PG}-bookworm
COPY --from=build /site_stats/build/package/ /
RUN echo "shared_preload_libraries = 'site_stats'" >>/usr/share/postgresql/postgresql.conf.sample
