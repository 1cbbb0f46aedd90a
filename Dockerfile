FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p chat-http

FROM debian:bookworm-slim
RUN useradd --system --create-home --home-dir /data chat
COPY --from=build /src/target/release/chat-http /usr/local/bin/chat-http
USER chat
WORKDIR /data
VOLUME /data
ENV CHAT_LISTEN=0.0.0.0:8000
EXPOSE 8000
ENTRYPOINT ["chat-http"]
